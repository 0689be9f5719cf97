//! Which controls of a camera are set to which values. Pure: what a camera does with them is asked
//! elsewhere.

/// A setting that the camera can find by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// It shall find it.
    Auto,
    /// It shall be this.
    Fixed(u32),
}

/// What is wanted of the controls; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Frequency of the mains that lights the room, in hertz; 0 for none.
    pub power_line_hertz: Option<u32>,
    /// Exposure, fixed in units of 100 µs.
    pub exposure: Option<Knob>,
    /// Focus, fixed on the camera's own scale.
    pub focus: Option<Knob>,
    /// Zoom on the camera's own scale.
    pub zoom: Option<u32>,
}

/// One control and the values that fulfil the wish, the best first: cameras know one automatic exposure
/// or the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The control in words, for a technician.
    pub name: &'static str,
    /// Its number in the kernel.
    pub id: u32,
    /// Its values.
    pub values: Vec<u32>,
}

/// Numbers of the controls (`device-protocols.md` §7, `linux/v4l2-controls.h`).
const POWER_LINE_FREQUENCY: u32 = 0x0098_0900 + 0x18;
const EXPOSURE_AUTO: u32 = 0x009A_0900 + 0x01;
const EXPOSURE_ABSOLUTE: u32 = 0x009A_0900 + 0x02;
const FOCUS_ABSOLUTE: u32 = 0x009A_0900 + 0x0A;
const FOCUS_AUTO: u32 = 0x009A_0900 + 0x0C;
const ZOOM_ABSOLUTE: u32 = 0x009A_0900 + 0x0D;
/// Values of the exposure menu.
const EXPOSURE_ALL_AUTO: u32 = 0;
const EXPOSURE_MANUAL: u32 = 1;
const EXPOSURE_SHUTTER: u32 = 2;
const EXPOSURE_APERTURE: u32 = 3;

/// The controls to set, in this order: a value can only be fixed once the automatic is off.
pub fn plan(settings: &Settings) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut add = |name, id, values: &[u32]| {
        steps.push(Step {
            name,
            id,
            values: values.to_vec(),
        });
    };
    if let Some(hertz) = settings.power_line_hertz {
        let value = match hertz {
            50 => 1,
            60 => 2,
            _ => 0,
        };
        add("power-line-frequency", POWER_LINE_FREQUENCY, &[value]);
    }
    match settings.exposure {
        Some(Knob::Auto) => add(
            "exposure-auto",
            EXPOSURE_AUTO,
            &[EXPOSURE_APERTURE, EXPOSURE_ALL_AUTO],
        ),
        Some(Knob::Fixed(value)) => {
            add(
                "exposure-auto",
                EXPOSURE_AUTO,
                &[EXPOSURE_MANUAL, EXPOSURE_SHUTTER],
            );
            add("exposure-absolute", EXPOSURE_ABSOLUTE, &[value]);
        }
        None => {}
    }
    match settings.focus {
        Some(Knob::Auto) => add("focus-auto", FOCUS_AUTO, &[1]),
        Some(Knob::Fixed(value)) => {
            add("focus-auto", FOCUS_AUTO, &[0]);
            add("focus-absolute", FOCUS_ABSOLUTE, &[value]);
        }
        None => {}
    }
    if let Some(value) = settings.zoom {
        add("zoom-absolute", ZOOM_ABSOLUTE, &[value]);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(settings: Settings, expect: &[(u32, &[u32])]) {
        let steps = plan(&settings);
        let found: Vec<_> = steps
            .iter()
            .map(|step| (step.id, step.values.as_slice()))
            .collect();
        assert_eq!(found, expect, "{settings:?}");
    }

    #[test]
    fn the_automatic_is_switched_off_before_a_value_is_fixed() {
        check(Settings::default(), &[]);
        check(
            Settings {
                power_line_hertz: Some(50),
                exposure: Some(Knob::Auto),
                focus: Some(Knob::Auto),
                zoom: None,
            },
            &[
                (0x0098_0918, &[1]),
                (0x009A_0901, &[3, 0]),
                (0x009A_090C, &[1]),
            ],
        );
        check(
            Settings {
                power_line_hertz: Some(0),
                exposure: Some(Knob::Fixed(156)),
                focus: Some(Knob::Fixed(30)),
                zoom: Some(100),
            },
            &[
                (0x0098_0918, &[0]),
                (0x009A_0901, &[1, 2]),
                (0x009A_0902, &[156]),
                (0x009A_090C, &[0]),
                (0x009A_090A, &[30]),
                (0x009A_090D, &[100]),
            ],
        );
    }
}
