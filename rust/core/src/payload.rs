//! Payloads: any JSON that a user's value can be, checked and left as it is.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::json::{MALFORMED, Read, Reader};
use crate::spec::MAX_DEPTH;

impl<'a> Reader<'a> {
    /// A payload as it stands; `None` for null.
    pub fn payload(&mut self) -> Read<Option<&'a str>> {
        let start = self.position;
        self.value(0)?;
        let text = self.since(start)?;
        Ok((text != "null").then_some(text))
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.position += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Read<()> {
        match self.peek().ok_or(MALFORMED)? {
            b'"' => self.any_string(),
            b'{' => self.object(depth + 1),
            b'[' => self.list(depth + 1),
            b't' => self.expect("true"),
            b'f' => self.expect("false"),
            b'n' => self.expect("null"),
            _ => self.number(),
        }
    }

    fn list(&mut self, depth: usize) -> Read<()> {
        if depth > MAX_DEPTH {
            return Err(MALFORMED);
        }
        self.position += 1;
        self.space();
        if self.take("]") {
            return Ok(());
        }
        loop {
            self.value(depth)?;
            self.space();
            if self.take("]") {
                return Ok(());
            }
            self.expect(",")?;
            self.space();
        }
    }

    fn object(&mut self, depth: usize) -> Read<()> {
        if depth > MAX_DEPTH {
            return Err(MALFORMED);
        }
        self.position += 1;
        self.space();
        if self.take("}") {
            return Ok(());
        }
        let mut keys = Keys::default();
        loop {
            let start = self.position;
            if self.peek() != Some(b'"') {
                return Err(MALFORMED);
            }
            self.any_string()?;
            keys.add(decoded(self.since(start)?))?;
            self.space();
            self.expect(":")?;
            self.space();
            self.value(depth)?;
            self.space();
            if self.take("}") {
                return Ok(());
            }
            self.expect(",")?;
            self.space();
        }
    }

    fn number(&mut self) -> Read<()> {
        let start = self.position;
        self.take("-");
        let digits = self.digits();
        if digits == 0 {
            return Err(MALFORMED);
        }
        if digits > 1 && self.text.as_bytes().get(self.position - digits) == Some(&b'0') {
            self.position -= digits - 1; // a leading zero is a number of its own
            return Ok(());
        }
        let whole = self.since(start)?;
        let mut float = false;
        let rest = self.rest();
        if rest.first() == Some(&b'.') && rest.get(1).is_some_and(u8::is_ascii_digit) {
            self.position += 1;
            self.digits();
            float = true;
        }
        let rest = self.rest();
        if matches!(rest.first(), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(rest.get(1), Some(b'+' | b'-')));
            if rest.get(1 + sign).is_some_and(u8::is_ascii_digit) {
                self.position += 1 + sign;
                self.digits();
                float = true;
            }
        }
        let fits = if float {
            self.since(start)?.parse::<f64>().is_ok_and(f64::is_finite)
        } else {
            whole.parse::<i64>().is_ok() || whole.parse::<u64>().is_ok()
        };
        if fits { Ok(()) } else { Err(MALFORMED) }
    }

    fn digits(&mut self) -> usize {
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.position += digits;
        digits
    }

    fn any_string(&mut self) -> Read<()> {
        self.position += 1;
        loop {
            let run = self
                .rest()
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
                .ok_or(MALFORMED)?;
            self.position += run;
            if self.take("\"") {
                return Ok(());
            }
            self.expect("\\")?;
            let escape = self.peek().ok_or(MALFORMED)?;
            self.position += 1;
            match escape {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                b'u' => match self.hex()? {
                    0xd800..0xdc00 => {
                        self.expect("\\u")?;
                        if !matches!(self.hex()?, 0xdc00..0xe000) {
                            return Err(MALFORMED);
                        }
                    }
                    0xdc00..0xe000 => return Err(MALFORMED),
                    _ => {}
                },
                _ => return Err(MALFORMED),
            }
        }
    }

    fn hex(&mut self) -> Read<u32> {
        let digits = self.rest().get(..4).ok_or(MALFORMED)?;
        let mut value = 0;
        for digit in digits {
            value = value << 4 | char::from(*digit).to_digit(16).ok_or(MALFORMED)?;
        }
        self.position += 4;
        Ok(value)
    }
}

/// The keys of one object, each of which may stand in it once.
#[derive(Default)]
struct Keys<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Keys<'a> {
    fn add(&mut self, key: Cow<'a, str>) -> Read<()> {
        if self.few.contains(&key) || self.many.contains(&key) {
            return Err(MALFORMED);
        }
        if self.few.len() < 16 {
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
        Ok(())
    }
}

/// What a checked string with its quotes stands for.
fn decoded(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut units: Vec<u16> = Vec::new();
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        let decoded = match char {
            '\\' => match chars.next() {
                Some('u') => {
                    let hex: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&hex, 16).unwrap_or_default());
                    continue;
                }
                Some('b') => '\x08',
                Some('f') => '\x0c',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                other => other.unwrap_or_default(),
            },
            plain => plain,
        };
        units.extend_from_slice(decoded.encode_utf16(&mut [0; 2]));
    }
    Cow::Owned(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(text: &str) -> Read<Option<&str>> {
        let mut reader = Reader::new(text.as_bytes())?;
        let found = reader.payload()?;
        reader.end()?;
        Ok(found)
    }

    #[test]
    fn payloads_are_json_and_nothing_else() {
        for text in [
            "1",
            "-0",
            "-0.0",
            "1.5e-7",
            "18446744073709551615",
            "-9223372036854775808",
            "\"\\ud83d\\ude00\"",
            "[ 1 , {} ]",
            "{\"a\":1,\"b\":[true,false,null]}",
            "\"\\/\"",
        ] {
            assert_eq!(payload(text), Ok(Some(text)), "{text}");
        }
        assert_eq!(payload("null"), Ok(None));
        for text in [
            "",
            " 1",
            "1 ",
            "01",
            "1.",
            "+1",
            "NaN",
            "Infinity",
            "18446744073709551616",
            "-9223372036854775809",
            "1e400",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\t\"",
            "[1,]",
            "{\"a\":1,\"\\u0061\":2}",
            "{1:2}",
            "'a'",
            "\"\\x\"",
            "[1",
            "{\"a\"}",
            "tru",
        ] {
            assert_eq!(payload(text), Err(MALFORMED), "{text}");
        }
    }

    #[test]
    fn depth_is_limited() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(payload(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(payload(&nested(MAX_DEPTH + 1)), Err(MALFORMED));
        assert_eq!(payload(&"[".repeat(1_000_000)), Err(MALFORMED));
    }
}
