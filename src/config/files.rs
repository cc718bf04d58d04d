//! Reads Java `.properties` text, and knows the line of every key.
//!
//! It reads what `java.util.Properties` reads: the three separators, line continuations, escapes, and the two kinds of
//! comments; a test compares it with vectors that Java wrote. Beyond Java it takes UTF-8 (what is not valid UTF-8 is
//! ISO-8859-1, as in Java) and a byte order mark.
//!
//! The crate `java-properties` gives line numbers too, but it unescapes comments, so that a comment with `C:\users` makes
//! the file unreadable; it refuses characters outside the basic plane (`\ud83d\ude00`), and it cannot go on after a bad
//! line, so that only the first problem of a file could be told.

use std::str::Chars;

/// A key and its value, with the number of the line where the key stands.
#[derive(PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) key: String,
    pub(super) value: String,
}

/// A line that cannot be read. Does not quote the line: it may hold a secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) what: &'static str,
}

/// The lines of a file in their order, or why it is no text at all.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Result<Line, BadLine>>, &'static str> {
    let text = decode(bytes)?;
    Ok(logical_lines(&text).into_iter().map(|(number, line)| split(number, &line)).collect())
}

fn decode(bytes: &[u8]) -> Result<String, &'static str> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16: save it as UTF-8");
    }
    if bytes.contains(&0) {
        return Err("it is not a text file");
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    Ok(match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    })
}

/// Lines with their continuations joined, without comments and blank lines.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut logical = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, natural) in natural_lines(text).into_iter().enumerate() {
        let content = natural.trim_start_matches(is_blank);
        let comment = content.starts_with(['#', '!']);
        // A continuation may start with a comment sign or be blank; only a first line is a comment or skipped.
        let starts_line = open.as_ref().is_none_or(|(_, line)| line.is_empty());
        if starts_line && (content.is_empty() || comment) {
            open = None;
            continue;
        }
        let (number, mut line) = open.take().unwrap_or((index + 1, String::new()));
        let backslashes = content.len() - content.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            line.push_str(&content[..content.len() - 1]);
            open = Some((number, line));
        } else {
            line.push_str(content);
            logical.push((number, line));
        }
    }
    logical.extend(open.filter(|(_, line)| !line.is_empty()));
    logical
}

fn natural_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\n', '\r']) {
        let (line, tail) = rest.split_at(end);
        lines.push(line);
        rest = tail.strip_prefix("\r\n").unwrap_or(&tail[1..]);
    }
    lines.push(rest);
    lines
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Splits at the first separator that is not escaped: blanks, with at most one `=` or `:` among them.
fn split(number: usize, line: &str) -> Result<Line, BadLine> {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let separates = !escaped && (is_blank(c) || c == '=' || c == ':');
        escaped = !escaped && c == '\\';
        separates
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(is_blank);
    let unescape = |text| unescape(text).map_err(|what| BadLine { number, what });
    Ok(Line { number, key: unescape(key)?, value: unescape(value)? })
}

fn unescape(text: &str) -> Result<String, &'static str> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => plain.push(unicode_escape(&mut chars)?),
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(plain)
}

/// The character of `\uXXXX`, or of two such escapes that make a surrogate pair; `\u` is already read.
fn unicode_escape(chars: &mut Chars<'_>) -> Result<char, &'static str> {
    const HALF: &str = "\\u names one half of a character only: write both halves, or the character itself";
    let first = code_unit(chars)?;
    if !(0xd800..0xe000).contains(&first) {
        return char::from_u32(first).ok_or(HALF);
    }
    let mut ahead = chars.clone();
    if ahead.next() != Some('\\') || ahead.next() != Some('u') {
        return Err(HALF);
    }
    let second = code_unit(&mut ahead)?;
    if first >= 0xdc00 || !(0xdc00..0xe000).contains(&second) {
        return Err(HALF);
    }
    *chars = ahead;
    char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(HALF)
}

fn code_unit(chars: &mut Chars<'_>) -> Result<u32, &'static str> {
    let mut unit = 0;
    for _ in 0..4 {
        let digit = chars.next().and_then(|c| c.to_digit(16));
        unit = unit * 16 + digit.ok_or("\\u needs four hexadecimal digits: for a backslash before a u write \\\\u")?;
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn lines(text: &str) -> Vec<(usize, String, String)> {
        let lines = read(text.as_bytes()).expect("text");
        lines.into_iter().flatten().map(|line| (line.number, line.key, line.value)).collect()
    }

    fn line(number: usize, key: &str, value: &str) -> (usize, String, String) {
        (number, key.to_owned(), value.to_owned())
    }

    fn from_hex(hex: &str) -> Vec<u8> {
        let digits = hex.trim_matches('-').as_bytes().chunks(2);
        digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex")).collect()
    }

    #[test]
    fn reads_what_java_reads() {
        let vectors = include_str!("../../tests/data/config/java-properties.txt");
        for vector in vectors.lines().filter(|line| !line.starts_with('#')) {
            let (file, expected) = vector.split_once(' ').expect("a file and what Java reads");
            // Latin-1 as Java writes it is not UTF-8, so this also decides about the encoding.
            let lines = read(&from_hex(file)).expect("text");
            let shown = String::from_utf8_lossy(&from_hex(file)).into_owned();
            if expected == "error" {
                assert!(lines.iter().any(Result::is_err), "{shown:?}");
                continue;
            }
            let mut ours = BTreeMap::new();
            for line in lines {
                let line = line.map_err(|bad| format!("{shown:?}: {bad:?}")).expect("a good line");
                ours.insert(line.key, line.value);
            }
            let text = |hex: &str| String::from_utf8(from_hex(hex)).expect("UTF-8");
            let pairs = expected.split(' ').filter_map(|pair| pair.split_once('='));
            let mut java: BTreeMap<_, _> = pairs.map(|(key, value)| (text(key), text(value))).collect();
            // Java makes an empty key of a lone backslash at the end of a file.
            for read in [&mut ours, &mut java] {
                read.remove("");
            }
            assert_eq!(ours, java, "{shown:?}");
        }
    }

    #[test]
    fn knows_the_line_of_every_key() {
        let text = "# comment\n\na=1\nb=2,\\\n  3\n! comment\nc 4\r\nd:5\re=6";
        let expected =
            [line(3, "a", "1"), line(4, "b", "2,3"), line(7, "c", "4"), line(8, "d", "5"), line(9, "e", "6")];
        assert_eq!(lines(text), expected);
        assert_eq!(lines(" = v"), [line(1, "", "v")]);
    }

    #[test]
    fn goes_on_after_a_bad_line() {
        let lines = read(b"a=\\u12\nb=2\nc=\\ud83d!\n").expect("text");
        let bad: Vec<_> = lines.iter().filter_map(|line| line.as_ref().err()).map(|bad| bad.number).collect();
        assert_eq!(bad, [1, 3]);
        assert_eq!(lines.iter().flatten().count(), 1);
    }

    #[test]
    fn takes_utf_8_a_byte_order_mark_and_latin_1() {
        assert_eq!(lines("\u{feff}a=caf\u{e9} \u{1f600}"), [line(1, "a", "caf\u{e9} \u{1f600}")]);
        assert_eq!(lines("a=\\ud83d\\ude00"), [line(1, "a", "\u{1f600}")]);
        let latin: Vec<_> = read(b"a=caf\xe9").expect("text").into_iter().flatten().collect();
        assert_eq!(latin[0].value, "caf\u{e9}");
    }

    #[test]
    fn a_comment_is_not_unescaped() {
        assert_eq!(lines("# C:\\users\\\na=1"), [line(2, "a", "1")]);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert!(read(b"\xfe\xed\xfe\xed\0\0\0\x02").is_err());
        assert!(read(b"\xff\xfea\0=\0b\0").is_err());
    }
}
