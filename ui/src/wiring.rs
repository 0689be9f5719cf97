//! Callbacks of the adapter -> [`Touch`]. The only file that knows how a finger is spelled in Slint.
//!
//! A full inbox drops the touch: an act nobody has time for must not be done later, when the screen has changed.

use std::sync::mpsc::SyncSender;

use slint::ComponentHandle;

use crate::glass::{AppWindow, ContrastChoice, KioskAdapter, LanguageChoice, SizeChoice};
use crate::touch::{Key, Touch};
use crate::view::{Contrast, Language, TextSize};

/// Sends every touch of `window` to `touches`.
pub(crate) fn connect(window: &AppWindow, touches: SyncSender<Touch>) {
    let adapter = window.global::<KioskAdapter<'_>>();
    let say = |touch: Touch| {
        let touches = touches.clone();
        move || drop(touches.try_send(touch.clone()))
    };
    adapter.on_start(say(Touch::Start));
    adapter.on_next(say(Touch::Next));
    adapter.on_other(say(Touch::Other));
    adapter.on_back(say(Touch::Back));
    adapter.on_leave(say(Touch::Leave));
    adapter.on_search(say(Touch::Search));
    adapter.on_staff(say(Touch::Staff));
    adapter.on_stay(say(Touch::Stay));
    adapter.on_activity(say(Touch::Activity));
    adapter.on_key_delete(say(Touch::Key(Key::Delete)));
    adapter.on_key_clear(say(Touch::Key(Key::Clear)));

    let inbox = touches.clone();
    adapter.on_choose(move |id| drop(inbox.try_send(Touch::Choose(id.into()))));
    let inbox = touches.clone();
    adapter.on_felt(move |x, y| drop(inbox.try_send(Touch::Felt { x, y })));
    let inbox = touches.clone();
    adapter.on_key(move |key| {
        if let Some(character) = key.chars().next() {
            drop(inbox.try_send(Touch::Key(Key::Char(character))));
        }
    });
    let inbox = touches.clone();
    adapter.on_turn(move |is_forward| drop(inbox.try_send(Touch::Page { is_forward })));
    let inbox = touches.clone();
    adapter
        .on_choose_language(move |choice| drop(inbox.try_send(Touch::Language(language(choice)))));
    let inbox = touches.clone();
    adapter.on_choose_size(move |choice| drop(inbox.try_send(Touch::TextSize(text_size(choice)))));
    adapter.on_choose_contrast(move |choice| {
        drop(touches.try_send(Touch::Contrast(contrast(choice))));
    });
}

fn language(choice: LanguageChoice) -> Language {
    match choice {
        LanguageChoice::Simplified => Language::ZhHans,
        LanguageChoice::Traditional => Language::ZhHant,
        LanguageChoice::English => Language::En,
    }
}

fn text_size(choice: SizeChoice) -> TextSize {
    match choice {
        SizeChoice::Normal => TextSize::Normal,
        SizeChoice::Large => TextSize::Large,
        SizeChoice::Larger => TextSize::Larger,
        SizeChoice::Largest => TextSize::Largest,
    }
}

fn contrast(choice: ContrastChoice) -> Contrast {
    match choice {
        ContrastChoice::Normal => Contrast::Normal,
        ContrastChoice::BlackOnWhite => Contrast::BlackOnWhite,
        ContrastChoice::WhiteOnBlack => Contrast::WhiteOnBlack,
        ContrastChoice::YellowOnBlack => Contrast::YellowOnBlack,
    }
}
