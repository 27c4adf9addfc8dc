//! The journal's JSON: writing strings, and reading strictly from left to right.
//!
//! What is read must be written the one way that this module writes it. Payloads are the exception, see `payload`.

use std::borrow::Cow;

use crate::id::{Id, Run, run_fits};
use crate::spec::FORMAT;

/// The text is not in the journal's format, or in a newer one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JsonFault {
    Malformed,
    Newer(i64),
}

pub type Read<T> = Result<T, JsonFault>;

pub(crate) const MALFORMED: JsonFault = JsonFault::Malformed;
/// The characters of an id and its quotes, without the prefix.
const ID_CHARS: usize = 29;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes a string with its quotes: only what must be escaped is.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.extend_from_slice(text.as_bytes());
    } else {
        for byte in text.bytes() {
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                0x08 => out.extend_from_slice(b"\\b"),
                0x09 => out.extend_from_slice(b"\\t"),
                0x0a => out.extend_from_slice(b"\\n"),
                0x0c => out.extend_from_slice(b"\\f"),
                0x0d => out.extend_from_slice(b"\\r"),
                0..0x20 => {
                    out.extend_from_slice(b"\\u00");
                    out.push(HEX[usize::from(byte >> 4)]);
                    out.push(HEX[usize::from(byte & 15)]);
                }
                _ => out.push(byte),
            }
        }
    }
    out.push(b'"');
}

/// Whether nothing in the text must be escaped.
pub fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'))
}

pub fn push_int(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes the text of an id in quotes.
pub fn push_id(out: &mut Vec<u8>, prefix: &str, id: Id) {
    out.push(b'"');
    out.extend_from_slice(prefix.as_bytes());
    out.push(b'_');
    out.extend_from_slice(&id.suffix());
    out.push(b'"');
}

/// The bytes that end a run of plain text.
static ENDS_RUN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Reads JSON text from left to right.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    pub(crate) text: &'a str,
    pub(crate) position: usize,
}

impl<'a> Reader<'a> {
    pub fn new(body: &'a [u8]) -> Read<Reader<'a>> {
        let text = std::str::from_utf8(body).map_err(|_| MALFORMED)?;
        Ok(Reader { text, position: 0 })
    }

    pub fn since(&self, start: usize) -> Read<&'a str> {
        self.text.get(start..self.position).ok_or(MALFORMED)
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.position..).unwrap_or_default()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    /// Goes over the literal if it is next.
    #[inline(always)] // the compiler knows its length then
    pub fn take(&mut self, literal: &str) -> bool {
        let found = self.rest().starts_with(literal.as_bytes());
        if found {
            self.position += literal.len();
        }
        found
    }

    /// An id with this prefix, if that is next.
    #[inline(always)]
    pub fn id(&mut self, prefix: &str) -> Option<Id> {
        let end = self.position + prefix.len() + ID_CHARS;
        let text = self.text.get(self.position..end)?;
        let id = Id::parse(text.strip_prefix('"')?.strip_suffix('"')?, prefix)?;
        self.position = end;
        Some(id)
    }

    #[inline(always)]
    pub fn expect(&mut self, literal: &str) -> Read<()> {
        if self.take(literal) { Ok(()) } else { Err(MALFORMED) }
    }

    pub fn end(&self) -> Read<()> {
        if self.position == self.text.len() { Ok(()) } else { Err(MALFORMED) }
    }

    /// Looks at the format that comes next, before anything that a newer one may have changed.
    pub fn newer(&mut self, literal: &str) -> Read<()> {
        let start = self.position;
        self.expect(literal)?;
        let found = self.integer()?;
        self.position = start;
        match found {
            FORMAT => Ok(()),
            newer if newer > FORMAT => Err(JsonFault::Newer(newer)),
            _ => Err(MALFORMED),
        }
    }

    /// A string in the one form that `push_string` writes.
    pub fn string(&mut self) -> Read<Cow<'a, str>> {
        self.expect("\"")?;
        let start = self.position;
        let end =
            self.rest().iter().position(|byte| ENDS_RUN[usize::from(*byte)]).ok_or(MALFORMED)?;
        self.position += end;
        if self.take("\"") {
            return Ok(Cow::Borrowed(self.text.get(start..start + end).ok_or(MALFORMED)?));
        }
        let mut text = self.text.get(start..start + end).ok_or(MALFORMED)?.to_owned();
        loop {
            let run = self
                .rest()
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
                .ok_or(MALFORMED)?;
            text.push_str(self.text.get(self.position..self.position + run).ok_or(MALFORMED)?);
            self.position += run;
            if self.take("\"") {
                return Ok(Cow::Owned(text));
            }
            self.expect("\\")?;
            text.push(self.canonical_escape()?);
        }
    }

    fn canonical_escape(&mut self) -> Read<char> {
        let escape = self.peek().ok_or(MALFORMED)?;
        self.position += 1;
        Ok(match escape {
            b'"' => '"',
            b'\\' => '\\',
            b'b' => '\x08',
            b't' => '\t',
            b'n' => '\n',
            b'f' => '\x0c',
            b'r' => '\r',
            b'u' => {
                self.expect("00")?;
                let digit = |byte: Option<u8>| {
                    HEX.iter().position(|hex| Some(*hex) == byte).ok_or(MALFORMED)
                };
                let value = digit(self.peek())? << 4;
                self.position += 1;
                let value = value | digit(self.peek())?;
                self.position += 1;
                if value >= 0x20 || matches!(value, 8 | 9 | 10 | 12 | 13) {
                    return Err(MALFORMED);
                }
                char::from(value as u8)
            }
            _ => return Err(MALFORMED),
        })
    }

    /// A whole number of 64 bits with sign.
    pub fn integer(&mut self) -> Read<i64> {
        let start = self.position;
        let negative = self.take("-");
        let rest = self.rest();
        let first = rest.first();
        let (mut value, mut digits) = (0u64, 0);
        while let Some(eight) = rest.get(digits..digits + 8).and_then(eight_digits) {
            value = value.wrapping_mul(100_000_000).wrapping_add(eight);
            digits += 8;
        }
        while let Some(byte) = rest.get(digits).filter(|byte| byte.is_ascii_digit()) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            digits += 1;
        }
        if digits == 0 || (first == Some(&b'0') && (digits > 1 || negative)) {
            return Err(MALFORMED);
        }
        self.position += digits;
        if digits < 19 || (digits == 19 && !negative && value <= i64::MAX as u64) {
            return Ok(if negative { -(value as i64) } else { value as i64 });
        }
        self.since(start)?.parse().map_err(|_| MALFORMED)
    }

    pub fn array<T>(&mut self, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let mut items = Vec::new();
        self.each(|reader| {
            items.push(item(reader)?);
            Ok(())
        })?;
        Ok(items)
    }

    /// An array whose elements somebody else keeps.
    pub fn each(&mut self, mut item: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.expect("[")?;
        if self.take("]") {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.take(",") {
                return self.expect("]");
            }
        }
    }

    /// A digest; whether it is this one.
    pub fn digest(&mut self, expected: &[u8; 32]) -> Read<bool> {
        let rest = self.rest();
        if rest.get(1..33) == Some(expected)
            && rest.first() == Some(&b'"')
            && rest.get(33) == Some(&b'"')
        {
            self.position += 34;
            return Ok(true);
        }
        Ok(self.any_digest()? == *expected)
    }

    pub fn any_digest(&mut self) -> Read<[u8; 32]> {
        let text = self.string()?;
        let digest: [u8; 32] = text.as_bytes().try_into().map_err(|_| MALFORMED)?;
        if digest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(digest)
        } else {
            Err(MALFORMED)
        }
    }

    pub fn run(&mut self) -> Read<Run> {
        self.expect("[")?;
        let first = Id::parse(&self.string()?, "step").ok_or(MALFORMED)?;
        self.expect(",")?;
        let count = self.integer()?;
        self.expect("]")?;
        match u32::try_from(count) {
            Ok(short) if run_fits(first, count) => Ok((first, short)),
            _ => Err(MALFORMED),
        }
    }
}

/// The number that eight digits stand for: neighbours are joined three times. Most numbers of a journal are times, which
/// have nineteen.
fn eight_digits(text: &[u8]) -> Option<u64> {
    let x = u64::from_le_bytes(text.try_into().ok()?);
    let too_low = x.wrapping_sub(0x3030_3030_3030_3030);
    let too_high = x.wrapping_add(0x4646_4646_4646_4646);
    if (too_low | too_high) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let x = x & 0x0f0f_0f0f_0f0f_0f0f;
    let x = (x * 10 + (x >> 8)) & 0x00ff_00ff_00ff_00ff;
    let x = (x * 100 + (x >> 16)) & 0x0000_ffff_0000_ffff;
    Some((x * 10_000 + (x >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_have_one_form() {
        for text in
            ["", "plain", "a\"b\\c", "\u{0}\u{1f}\n\r\t\u{8}\u{c}\u{7f}\u{2028}", "日本語 🎉"]
        {
            let mut out = Vec::new();
            push_string(&mut out, text);
            assert_eq!(
                Reader::new(&out).and_then(|mut reader| reader.string()),
                Ok(Cow::Borrowed(text))
            );
        }
        for text in ["\"\\/\"", "\"\\u0041\"", "\"\\u000A\"", "\"\\u000a\"", "\"open"] {
            assert!(
                Reader::new(text.as_bytes()).and_then(|mut reader| reader.string()).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn integers_have_one_form() {
        for value in
            [0, 1, -1, 42, 12_345_678, 1_795_502_251_087_159_817, 90_000_000, i64::MAX, i64::MIN]
        {
            let mut out = Vec::new();
            push_int(&mut out, value);
            assert_eq!(out, value.to_string().into_bytes());
            assert_eq!(Reader::new(&out).and_then(|mut reader| reader.integer()), Ok(value));
        }
        for byte in 0..=255 {
            let mut text = *b"12345678";
            text[3] = byte;
            assert_eq!(eight_digits(&text).is_some(), byte.is_ascii_digit(), "{byte}");
        }
        let bad =
            ["-0", "01", "9223372036854775808", "00000000", "123456789012345678901234", "", "-"];
        for text in bad {
            assert!(
                Reader::new(text.as_bytes()).and_then(|mut reader| reader.integer()).is_err(),
                "{text}"
            );
        }
    }
}
