//! TypeIDs (specification 0.3): a prefix and a UUIDv7 (RFC 9562) in base32, sortable as text.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SUFFIX: usize = 26;
const LOW_62: u64 = (1 << 62) - 1;
const TAIL_BITS: u32 = 40;

const fn pairs() -> [[u8; 2]; 1024] {
    let mut table = [[0; 2]; 1024];
    let mut at = 0;
    while at < 1024 {
        table[at] = [ALPHABET[at >> 5], ALPHABET[at & 31]];
        at += 1;
    }
    table
}

static PAIRS: [[u8; 2]; 1024] = pairs();

/// Writes 13 characters: one for the first bits, twelve for the last 60 of `rest`.
fn put_half(text: &mut [u8], first: usize, mut rest: u64) {
    if let Some((place, pairs)) = text.split_first_mut() {
        *place = ALPHABET[first & 31];
        for pair in pairs.chunks_exact_mut(2).rev() {
            pair.copy_from_slice(&PAIRS[(rest & 1023) as usize]);
            rest >>= 10;
        }
    }
}

/// Eight characters, already as numbers of five bits in a byte each, as one number of 40 bits: neighbours are joined
/// three times, which takes a third of the steps that going through them would.
fn join(digits: [u8; 8]) -> u64 {
    let x = u64::from_be_bytes(digits);
    let x = x & 0x001f_001f_001f_001f | (x & 0x1f00_1f00_1f00_1f00) >> 3;
    let x = x & 0x0000_03ff_0000_03ff | (x & 0x03ff_0000_03ff_0000) >> 6;
    x & 0xf_ffff | x >> 32 << 20
}

/// The value of a character of the alphabet, and whether it is one. No branch and no table, so that the compiler does
/// sixteen at once.
fn digit(byte: u8) -> (u8, bool) {
    let number = byte.wrapping_sub(b'0');
    let letter = byte.wrapping_sub(b'a');
    let skipped = [b'i', b'l', b'o', b'u'].map(|letter| letter - b'a');
    let before = skipped.iter().map(|other| u8::from(letter > *other)).sum::<u8>();
    let known = skipped.iter().fold(letter < 26, |known, other| known & (letter != *other));
    let is_number = number < 10;
    let value = letter.wrapping_add(10).wrapping_sub(before);
    (if is_number { number } else { value }, is_number | known)
}

/// The 128 bits that 26 characters stand for; `None` if they stand for none.
fn number(suffix: &[u8; SUFFIX]) -> Option<u128> {
    let mut text = [b'0'; 32];
    text[6..].copy_from_slice(suffix);
    let mut digits = [0; 32];
    let mut strange = 0;
    for (place, byte) in digits.iter_mut().zip(text) {
        let (value, known) = digit(byte);
        *place = value;
        strange |= u8::from(!known);
    }
    // 26 characters are 130 bits, of which an id has 128.
    if strange != 0 || digits[6] > 7 {
        return None;
    }
    let part = |at: usize| digits[at..at + 8].try_into().map(join).unwrap_or_default();
    Some(
        u128::from(part(0)) << 120
            | u128::from(part(8)) << 80
            | u128::from(part(16)) << 40
            | u128::from(part(24)),
    )
}

/// The 128 bits of an id; the prefix goes without saying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    high: u64,
    low: u64,
}

impl Id {
    /// Its 128 bits, the first ones first.
    pub fn bytes(self) -> [u8; 16] {
        ((u128::from(self.high) << 64) | u128::from(self.low)).to_be_bytes()
    }

    /// The id that the text stands for, which begins with this prefix and an underscore.
    #[inline(always)]
    pub fn parse(text: &str, prefix: &str) -> Option<Id> {
        let suffix = text.strip_prefix(prefix)?.strip_prefix('_')?;
        number(suffix.as_bytes().try_into().ok()?).map(Id::from_bits)
    }

    pub const fn from_bits(bits: u128) -> Id {
        Id { high: (bits >> 64) as u64, low: bits as u64 }
    }

    pub const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// The text after the prefix and its underscore.
    pub fn suffix(self) -> [u8; SUFFIX] {
        // Two halves of 65 bits, 13 characters each: the first bits, then pairs of characters.
        let mut text = [0; SUFFIX];
        let (left, right) = text.split_at_mut(SUFFIX / 2);
        put_half(left, (self.high >> 61) as usize, self.high >> 1);
        put_half(right, ((self.high & 1) << 4 | self.low >> 60) as usize, self.low);
        text
    }

    /// The whole text of a step's id.
    pub fn step_text(self) -> [u8; 5 + SUFFIX] {
        let mut text = *b"step_00000000000000000000000000";
        text[5..].copy_from_slice(&self.suffix());
        text
    }

    /// The whole text.
    pub fn text(self, prefix: &str) -> String {
        let mut text = String::with_capacity(prefix.len() + 1 + SUFFIX);
        text.push_str(prefix);
        text.push('_');
        text.push_str(std::str::from_utf8(&self.suffix()).unwrap_or_default());
        text
    }

    /// The id `count` further on in a run.
    pub fn plus(self, count: u64) -> Id {
        Id { high: self.high, low: self.low.wrapping_add(count) }
    }
}

/// Consecutive ids: the first, and how many.
pub type Run = (Id, u32);

/// Whether a run of so many ids stays within the last 62 bits of its first one.
pub fn run_fits(first: Id, count: i64) -> bool {
    count >= 1 && (first.low & LOW_62) + (count as u64 - 1) <= LOW_62
}

/// The ids as runs of consecutive ones.
pub fn runs_of(ids: impl Iterator<Item = Id>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for id in ids {
        if let Some((first, count)) = runs.last_mut()
            && id == first.plus(u64::from(*count))
            && id.low & LOW_62 != 0
        {
            *count += 1;
        } else {
            runs.push((id, 1));
        }
    }
    runs
}

/// Makes ids, each greater than the one before: the time in ms, then 74 random bits, of which the last 40 count up by
/// random steps within one millisecond.
#[derive(Debug)]
pub struct IdSource {
    ms: i64,
    base: u128,
    tail: u64,
}

impl Default for IdSource {
    fn default() -> IdSource {
        IdSource { ms: -1, base: 0, tail: 0 }
    }
}

impl IdSource {
    /// A new id at this time in ms; `random` gives entropy.
    pub fn next(&mut self, ms: i64, mut random: impl FnMut(&mut [u8])) -> Id {
        let mut step = [0];
        random(&mut step);
        self.reserve_from(ms, 1, u64::from(step[0]), random)
    }

    /// The first of `count` consecutive new ids.
    pub fn reserve(&mut self, ms: i64, count: u32, random: impl FnMut(&mut [u8])) -> Id {
        self.reserve_from(ms, count, 0, random)
    }

    fn reserve_from(
        &mut self,
        ms: i64,
        count: u32,
        gap: u64,
        mut random: impl FnMut(&mut [u8]),
    ) -> Id {
        if ms > self.ms {
            self.seed(ms, &mut random);
        }
        if (self.tail + gap + u64::from(count)) >> TAIL_BITS != 0 {
            self.seed(self.ms + 1, &mut random);
        }
        let first = self.tail + gap + 1;
        self.tail += gap + u64::from(count);
        Id::from_bits(self.base | u128::from(first))
    }

    /// Fresh random bits for a new millisecond; the counter's top bit stays free, so that it does not end.
    fn seed(&mut self, ms: i64, random: &mut impl FnMut(&mut [u8])) {
        let mut bytes = [0; 16];
        random(&mut bytes);
        let random = u128::from_le_bytes(bytes);
        let version = 7u128 << 76 | (random & 0xfff) << 64;
        let variant = 2u128 << 62 | (random >> 12 & 0x3f_ffff) << TAIL_BITS;
        self.ms = ms;
        self.base = ((ms as u128) & 0xffff_ffff_ffff) << 80 | version | variant;
        self.tail = (random >> 64) as u64 & ((1 << (TAIL_BITS - 1)) - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for (bits, suffix) in [
            (0u128, "00000000000000000000000000"),
            (0x0188_bac7_4afa_78aa_bc3b_bd1e_ef28_d881, "01h2xcejqtf2nbrexx3vqjhp41"),
            (u128::MAX, "7zzzzzzzzzzzzzzzzzzzzzzzzz"),
        ] {
            let id = Id::from_bits(bits);
            assert_eq!(id.text("step"), format!("step_{suffix}"));
            assert_eq!(Id::parse(&format!("step_{suffix}"), "step"), Some(id));
        }
    }

    #[test]
    fn refuses_what_is_no_id() {
        for text in [
            "",
            "step_",
            "step_0",
            "exec_01h2xcejqtf2nbrexx3vqjhp41",
            "step_81h2xcejqtf2nbrexx3vqjhp41",
        ] {
            assert_eq!(Id::parse(text, "step"), None, "{text}");
        }
        let known: Vec<u8> = (0..=255).filter(|byte| digit(*byte).1).collect();
        assert_eq!(known, ALPHABET);
        assert!(ALPHABET.iter().enumerate().all(|(value, byte)| digit(*byte).0 == value as u8));
        assert_eq!(Id::parse("step_01H2XCEJQTF2NBREXX3VQJHP41", "step"), None);
        assert_eq!(Id::parse("step_01h2xcejqtf2nbrexx3vqjhpu1", "step"), None);
    }

    #[test]
    fn new_ids_ascend_whatever_the_clock_does() {
        let mut source = IdSource::default();
        let mut last = Id::from_bits(0);
        for ms in [5, 5, 5, 4, 3, 9, 9, 1] {
            let id = source.next(ms, |bytes| bytes.fill(0xff));
            assert!(id > last);
            last = id;
        }
        let first = source.reserve(9, 1_000, |bytes| bytes.fill(7));
        assert!(first > last && source.next(9, |bytes| bytes.fill(0)) > first.plus(999));
    }

    #[test]
    fn runs_join_consecutive_ids() {
        let id = Id::from_bits(1 << 64 | 5);
        assert_eq!(
            runs_of([id, id.plus(1), id.plus(2), id.plus(9)].into_iter()),
            [(id, 3), (id.plus(9), 1)]
        );
    }
}
