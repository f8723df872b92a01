//! Which encodings of an Ed25519 public key are refused.

/// 2^255 - 19, little-endian, without its first byte: all of it is `ff` but the last byte, `7f`.
const P_FIRST_BYTE: u8 = 0xed;

/// The y-coordinates of the points whose order divides 8, little-endian.
///
/// With such a key a signature can be made that holds for many messages, or for all: `0`, `1`, the two of order 8, and -1.
const SMALL_ORDER: [[u8; 32]; 4] = [
    [0; 32],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Whether a key is of small order, or encodes its point otherwise than RFC 8032 section 5.1.3 allows (y not below the
/// prime): two encodings of one key would be two identities.
pub(in crate::protocol) fn is_refused(key: &[u8; 32]) -> bool {
    let mut y = *key;
    y[31] &= 0x7f;
    let is_high = y[31] == 0x7f && y[1..31].iter().all(|&byte| byte == 0xff);
    let is_minus_one = is_high && y[0] == P_FIRST_BYTE - 1;
    let is_not_reduced = is_high && y[0] >= P_FIRST_BYTE;
    is_minus_one || is_not_reduced || SMALL_ORDER.contains(&y)
}
