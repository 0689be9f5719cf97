//! Compiles the Slint files and bundles their translations.
//!
//! The names and positions of elements are kept only where a journey may look for them (feature `probe`).

use std::error::Error;

use slint_build::{CompilerConfiguration, DefaultTranslationContext};

fn main() -> Result<(), Box<dyn Error>> {
    let has_probe = std::env::var_os("CARGO_FEATURE_PROBE").is_some();
    let configuration = CompilerConfiguration::new()
        .with_bundled_translations("lang")
        .with_default_translation_context(DefaultTranslationContext::None)
        .with_debug_info(has_probe);
    slint_build::compile_with_config("slint/app.slint", configuration)?;
    Ok(())
}
