//! Makes text that others have chosen fit to be shown: names of groups and hosts, and what brokers say.
//!
//! Anybody who may commit an offset chooses the name of a group, and a broker says what it likes. Shown as it is, such a text moves
//! the cursor of a terminal, hides what follows, or is another line of a log. Everything the library tells passes through here
//! ([`Error`](crate::Error), [`Event`](crate::Event), [`LogRecord`](crate::LogRecord)); the names in a [`Status`](crate::Status) or a
//! [`Plan`](crate::Plan) are what they are, and whoever shows them does it with [`printable`].

use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters of a name or of a broker's sentence that are shown.
const LONGEST_NAME: usize = 1000;
/// Characters of a sentence that are shown.
const LONGEST_SENTENCE: usize = 4000;

/// A name, or what a broker says, as it can be put into a line: without anything that a terminal or a reader of lines would obey,
/// and not too long.
///
/// ```
/// use kmirror::text::printable;
/// assert_eq!(printable("orders\n\u{1b}[2J"), "orders\\n\\u{1b}[2J");
/// assert_eq!(printable(&"x".repeat(2000)).len(), 1000 + "… (2000 characters)".len());
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    cut(escape(text, false), LONGEST_NAME)
}

/// A text as one line without anything that a terminal would obey.
pub fn escaped(text: &str) -> Cow<'_, str> {
    escape(text, false)
}

/// The same for a text of several lines.
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    escape(text, true)
}

/// A sentence of the library. Lists of several lines are only made of what a configuration says.
pub(crate) fn sentence(text: String, with_lines: bool) -> String {
    let text = if is_harmless(&text, with_lines) { text } else { escape(&text, with_lines).into_owned() };
    match with_lines {
        true => text,
        false => cut(Cow::Owned(text), LONGEST_SENTENCE).into_owned(),
    }
}

/// Whether a terminal, or a reader of lines, takes the character for something else than a character.
pub fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Marks and overrides of the direction in which text runs; they hide what they are in.
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            // Separators of lines and paragraphs, and what has no width.
            | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn is_harmless(text: &str, with_lines: bool) -> bool {
    // Nearly all texts are of plain characters.
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) || (with_lines && byte == b'\n');
    text.bytes().all(plain) || !text.chars().any(|c| is_obeyed(c) && !(with_lines && c == '\n'))
}

fn escape(text: &str, with_lines: bool) -> Cow<'_, str> {
    if is_harmless(text, with_lines) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' if with_lines => escaped.push('\n'),
            // A `String` takes everything.
            _ if is_obeyed(character) => drop(write!(escaped, "{}", character.escape_default())),
            _ => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

fn cut(text: Cow<'_, str>, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return text;
    }
    match text.char_indices().nth(longest) {
        Some((end, _)) => Cow::Owned(format!("{}… ({} characters)", &text[..end], text.chars().count())),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let evil = "a\u{1b}[2J\u{1b}]0;pwned\u{7}\u{9b}31m\u{202e}txt\r\nforged\u{2028}\u{7f}\0";
        let shown = printable(evil);
        assert_eq!(shown, r"a\u{1b}[2J\u{1b}]0;pwned\u{7}\u{9b}31m\u{202e}txt\r\nforged\u{2028}\u{7f}\u{0}");
        assert!(!shown.chars().any(is_obeyed));
        assert_eq!(escaped_lines("one\n  two\t"), "one\n  two\\t");
        for harmless in ["orders", "bestellungen-für-あ", "🙂", "two words"] {
            assert!(matches!(printable(harmless), Cow::Borrowed(text) if text == harmless));
        }
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        let long = "é".repeat(1001);
        assert_eq!(printable(&long), format!("{}… (1001 characters)", "é".repeat(1000)));
        assert_eq!(printable(&long[..2000]), long[..2000]);
        assert_eq!(sentence("x".repeat(30_000), false), format!("{}… (30000 characters)", "x".repeat(4000)));
        assert_eq!(sentence("x\n".repeat(3000), true).len(), 6000);
    }
}
