//! Compiles the bench panel.

fn main() -> Result<(), slint_build::CompileError> {
    slint_build::compile("slint/panel.slint")
}
