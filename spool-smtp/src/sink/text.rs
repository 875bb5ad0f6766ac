//! The size and the checksum of a message, and its first bytes for the tag; the rest is not stored.

/// How many bytes are kept to find the tag.
const HEAD: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) size: u64,
    pub(super) hash: u32,
    pub(super) head: Vec<u8>,
}

impl Text {
    /// Adds a part of the message. Without `noted` nothing is written about it, and only its size counts.
    pub(super) fn take(&mut self, content: &[u8], noted: bool) {
        self.size += u64::try_from(content.len()).unwrap_or(u64::MAX);
        if noted {
            self.hash = crc32c::crc32c_append(self.hash, content);
            let room = HEAD.saturating_sub(self.head.len()).min(content.len());
            self.head
                .extend_from_slice(content.get(..room).unwrap_or_default());
        }
    }
}
