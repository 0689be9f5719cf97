//! Every case of the lab in the order in which it runs. A name states a promise.

use crate::case::Case;

mod auxiliaries;
mod camera;
mod card;
mod guided;
mod printer;
mod scanner;
mod supervision;

/// The shortest useful part: one card over USB, one plug pulled.
pub(crate) const SMOKE: &[Case] = &[
    Case::new(
        "a_card_is_read_over_usb_with_four_pipes",
        60,
        card::four_pipes,
    ),
    Case::new(
        "a_reader_pulled_during_a_read_is_gone_and_comes_back",
        90,
        card::unplug_usb,
    ),
];

/// Everything.
pub(crate) const ALL: &[Case] = &[
    Case::new(
        "a_card_is_read_over_usb_with_four_pipes",
        60,
        card::four_pipes,
    ),
    Case::new("a_card_is_read_over_usb_with_one_pair", 60, card::one_pair),
    Case::new("a_card_is_read_over_hid", 60, card::hid),
    Case::new(
        "a_card_is_read_over_a_usb_serial_adapter",
        60,
        card::serial_adapter,
    ),
    Case::new(
        "a_reader_pulled_during_a_read_is_gone_and_comes_back",
        90,
        card::unplug_usb,
    ),
    Case::new(
        "a_serial_adapter_pulled_during_a_read_is_gone_and_comes_back",
        90,
        card::unplug_serial_adapter,
    ),
    Case::new(
        "a_stalled_pipe_works_again_without_reopening",
        60,
        card::stalled_pipe,
    ),
    Case::new("a_reader_in_use_is_told_as_in_use", 60, card::in_use),
    Case::new(
        "the_kernels_hotplug_messages_are_heard",
        60,
        supervision::hotplug_messages,
    ),
    Case::new(
        "a_replugged_reader_is_noticed_at_once",
        180,
        supervision::replugged_usb_reader,
    ),
    Case::new(
        "a_replugged_serial_adapter_is_noticed_at_once",
        180,
        supervision::replugged_serial_reader,
    ),
    Case::new(
        "a_silent_reader_is_bound_anew_through_sysfs",
        240,
        supervision::rebind,
    ),
    Case::new(
        "two_readers_of_a_kind_are_told_apart",
        90,
        card::two_of_a_kind,
    ),
    Case::new(
        "a_hid_scanner_reads_both_layouts_and_can_be_pulled",
        90,
        scanner::hid_pos,
    ),
    Case::new(
        "a_scanner_on_a_serial_adapter_gets_its_line_settings",
        60,
        scanner::serial_dialect,
    ),
    Case::new(
        "a_usb_keyboard_that_is_a_scanner_is_grabbed_and_read",
        90,
        scanner::usb_keyboard,
    ),
    Case::new(
        "a_scanner_that_types_is_grabbed_and_read",
        60,
        scanner::typed_code,
    ),
    Case::new(
        "a_slip_is_printed_and_the_printer_given_back_to_the_kernel",
        90,
        printer::whole_slip,
    ),
    Case::new(
        "a_printer_pulled_while_printing_is_gone_and_comes_back",
        120,
        printer::pulled_while_printing,
    ),
    Case::new(
        "color_and_infrared_pictures_of_v4l2_come_in_pairs",
        90,
        camera::raw_formats_in_pairs,
    ),
    Case::new("a_stalled_camera_is_told_and_comes_back", 90, camera::stall),
    Case::new("a_camera_in_use_is_told_as_in_use", 60, camera::in_use),
    Case::new(
        "motion_jpeg_of_a_usb_camera_arrives_unchanged_and_soon",
        90,
        camera::usb_picture_latency,
    ),
    Case::new(
        "a_usb_camera_that_stalls_or_is_pulled_is_told",
        120,
        camera::usb_stall_and_unplug,
    ),
    Case::new(
        "a_signature_is_where_it_was_drawn",
        60,
        auxiliaries::signature,
    ),
    // Most of it is the minute that the test waits for a pen which never touches.
    Case::new(
        "the_guided_test_of_a_pad_passes_fails_by_name_and_mends_its_ticket",
        420,
        guided::signature_pad,
    ),
    Case::new("the_volume_that_was_set_is_told", 60, auxiliaries::volume),
];
