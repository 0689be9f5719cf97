//! The same pages on a panel that lies on its side.

mod samples;
mod stage;

use kiosk_ui::{Contrast, TextSize, Touch};
use stage::Stage;

#[test]
fn every_page_fits_on_its_side() {
    let glass = Stage::take(1920, 1080);
    for text_size in [TextSize::Normal, TextSize::Largest] {
        for (name, view) in samples::all() {
            let elements = glass.show(samples::with_look(view, text_size, Contrast::Normal));
            for element in elements.iter().filter(|element| element.role == "button") {
                let is_inside = element.x >= -1.0
                    && element.y >= -1.0
                    && element.x + element.width <= 1921.0
                    && element.y + element.height <= 1081.0;
                assert!(
                    is_inside,
                    "{name} {text_size:?}: off the glass: {element:?}"
                );
            }
        }
    }
    glass.show(samples::named("rating"));
    assert_eq!(glass.touch("满意"), Touch::Choose("4".into()));
    assert!(glass.touched().is_empty());
    let picture = glass.probe.snapshot().unwrap();
    assert_eq!((picture.width, picture.height), (1920, 1080));
}
