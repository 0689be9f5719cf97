//! What somebody types on a terminal that does not show it: PINs and passphrases.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Stdin, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// While it lives, the terminal of the standard input does not show what is typed.
pub(crate) struct Hidden {
    terminal: Stdin,
    before: Termios,
}

impl Hidden {
    /// Nothing where the standard input is no terminal, so that nobody can be asked.
    pub(crate) fn begin() -> io::Result<Option<Self>> {
        let terminal = io::stdin();
        if !terminal.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
        Ok(Some(Self { terminal, before }))
    }

    /// Asks, and reads one line of at most so many bytes.
    pub(crate) fn ask(&self, words: &str, bytes_max: u16) -> io::Result<Zeroizing<String>> {
        let mut screen = io::stderr();
        write!(screen, "{words}: ")?;
        screen.flush()?;
        // Grown once, so that no copy of the secret stays behind in a smaller buffer.
        let mut line = Zeroizing::new(String::with_capacity(usize::from(bytes_max) + 2));
        self.terminal
            .lock()
            .take(u64::from(bytes_max) + 2)
            .read_line(&mut line)?;
        writeln!(screen)?;
        Ok(Zeroizing::new(
            line.trim_end_matches(['\r', '\n']).to_owned(),
        ))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Nothing can be done for a terminal that does not take it.
        tcsetattr(&self.terminal, OptionalActions::Flush, &self.before).unwrap_or(());
    }
}
