//! The bytes of a side file's state: little-endian integers and length-prefixed texts.

/// Appends values.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) out: Vec<u8>,
}

impl Writer {
    pub(crate) fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i128(&mut self, value: i128) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.u64(value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
    }

    pub(crate) fn text_if(&mut self, value: Option<&str>) {
        self.u64(u64::from(value.is_some()));
        self.text(value.unwrap_or(""));
    }

    /// A length, and then what `fill` appends.
    pub(crate) fn block(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        self.u64(0);
        fill(&mut self.out);
        let length = (self.out.len() - start - 8) as u64;
        self.out[start..start + 8].copy_from_slice(&length.to_le_bytes());
    }
}

/// Takes values from the front.
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

/// The state ends too early or holds what cannot be.
pub(crate) const BROKEN: &str = "the saved state is broken";

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(BROKEN)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N).map(|bytes| bytes.try_into().expect("as many as asked for"))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, &'static str> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, &'static str> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn i128(&mut self) -> Result<i128, &'static str> {
        self.array().map(i128::from_le_bytes)
    }

    pub(crate) fn block(&mut self) -> Result<&'a [u8], &'static str> {
        let length = usize::try_from(self.u64()?).map_err(|_| BROKEN)?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, &'static str> {
        std::str::from_utf8(self.block()?).map_err(|_| BROKEN)
    }

    pub(crate) fn text_if(&mut self) -> Result<Option<&'a str>, &'static str> {
        let present = self.u64()? == 1;
        self.text().map(|text| present.then_some(text))
    }
}
