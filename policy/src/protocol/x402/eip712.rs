//! Signatures of accounts on EVM chains: Keccak-256, addresses (EIP-55), typed data (EIP-712), transfers with
//! authorization (EIP-3009), and whose key signed (secp256k1 with recovery).
//!
//! A contract's signature (EIP-1271, EIP-6492) can only be judged on its chain; it is told apart by its length.

use std::fmt;

use k256::ecdsa::{RecoveryId, Signature as EcdsaSignature, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha3::{Digest, Keccak256};

use super::atomic::U256;
use crate::hex;

/// A hash, or a nonce: 32 bytes.
pub type B256 = [u8; 32];

/// Bytes of an account's signature: r, s and v.
pub const SIGNATURE_BYTES: usize = 65;
/// Bytes of a contract's signature that are looked at; above, it is malformed.
pub const CONTRACT_SIGNATURE_BYTES_MAX: usize = 4_096;

/// The types that EIP-3009 names.
const TRANSFER_TYPE: &str = "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,\
                             uint256 validBefore,bytes32 nonce)";
const DOMAIN_TYPE: &str =
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const DOMAIN_TYPE_WITHOUT_CONTRACT: &str = "EIP712Domain(string name,string version,uint256 chainId)";

/// Keccak-256 as Ethereum uses it (not SHA3-256).
pub fn keccak256(bytes: impl AsRef<[u8]>) -> B256 {
    Keccak256::digest(bytes.as_ref()).into()
}

/// The address of an account or a contract; shown with the checksum of EIP-55.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address([u8; 20]);

impl Address {
    /// Reads `0x` and 40 hexadecimal digits, whatever their case.
    pub fn parse(text: &str) -> Option<Address> {
        from_hex(text)?.try_into().ok().map(Address)
    }

    /// Reads an address that a person wrote: letters of both cases must be those of the checksum (EIP-55).
    pub fn parse_checked(text: &str) -> Option<Address> {
        let address = Address::parse(text)?;
        let digits = &text[2..];
        let has_no_checksum = !digits.bytes().any(|byte| byte.is_ascii_lowercase())
            || !digits.bytes().any(|byte| byte.is_ascii_uppercase());
        (has_no_checksum || address.to_string() == text).then_some(address)
    }

    /// The 20 bytes.
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    fn of_key(key: &VerifyingKey) -> Address {
        let point = key.to_sec1_point(false);
        let hash = keccak256(&point.as_bytes()[1..]);
        let mut address = [0; 20];
        address.copy_from_slice(&hash[12..]);
        Address(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = hex(&self.0);
        let hash = keccak256(&digits);
        f.write_str("0x")?;
        for (index, digit) in digits.chars().enumerate() {
            let nibble = hash[index / 2] >> (if index % 2 == 0 { 4 } else { 0 }) & 0xf;
            let shown = if nibble >= 8 { digit.to_ascii_uppercase() } else { digit };
            write!(f, "{shown}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Address, &'static str> {
        Address::parse(&text).ok_or("not an address of 0x and 40 hexadecimal digits")
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

/// The domain of typed data (EIP-712): what a signature is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain<'a> {
    /// The token's own name; it differs between chains (`USDC` on Base Sepolia, `USD Coin` on Base).
    pub name: &'a str,
    /// The token's own version.
    pub version: &'a str,
    /// The chain.
    pub chain_id: u64,
    /// The token's contract; none in offers and receipts.
    pub verifying_contract: Option<Address>,
}

impl Domain<'_> {
    /// `hashStruct(domain)`.
    pub fn separator(&self) -> B256 {
        let hashed = Struct::new(match self.verifying_contract {
            Some(_) => DOMAIN_TYPE,
            None => DOMAIN_TYPE_WITHOUT_CONTRACT,
        });
        let hashed = hashed.string(self.name).string(self.version).number(self.chain_id.into());
        match self.verifying_contract {
            Some(contract) => hashed.address(contract).hash(),
            None => hashed.hash(),
        }
    }

    /// What is signed: `keccak256(0x1901 ‖ domainSeparator ‖ hashStruct(message))`.
    pub fn digest(&self, message: &B256) -> B256 {
        keccak256([&[0x19, 0x01][..], &self.separator(), message].concat())
    }
}

/// A message of typed data: the type's hash and its members, each as 32 bytes.
pub struct Struct(Vec<u8>);

impl Struct {
    /// A message of a type, by its canonical text.
    pub fn new(type_text: &str) -> Struct {
        Struct(keccak256(type_text).to_vec())
    }

    /// A `string`.
    pub fn string(self, text: &str) -> Struct {
        self.word(&keccak256(text))
    }

    /// A `uint256`.
    pub fn number(self, number: U256) -> Struct {
        self.word(&number.to_be_bytes())
    }

    /// An `address`.
    pub fn address(self, address: Address) -> Struct {
        let mut word = [0; 32];
        word[12..].copy_from_slice(address.as_bytes());
        self.word(&word)
    }

    /// A `bytes32`.
    pub fn word(mut self, word: &B256) -> Struct {
        self.0.extend_from_slice(word);
        self
    }

    /// `hashStruct`.
    pub fn hash(self) -> B256 {
        keccak256(self.0)
    }
}

/// An order to a token's contract to move money, good once and for a time (EIP-3009, `scheme_exact_evm.md`).
///
/// It says nothing of what is bought.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// Who pays.
    pub from: Address,
    /// Who is paid.
    pub to: Address,
    /// Smallest units of the token.
    pub value: U256,
    /// Unix seconds; good after them.
    pub valid_after: U256,
    /// Unix seconds; good before them.
    pub valid_before: U256,
    /// Random; a contract takes each once from an account.
    pub nonce: Nonce,
}

impl Authorization {
    /// `hashStruct` of `TransferWithAuthorization`.
    pub fn struct_hash(&self) -> B256 {
        Struct::new(TRANSFER_TYPE)
            .address(self.from)
            .address(self.to)
            .number(self.value)
            .number(self.valid_after)
            .number(self.valid_before)
            .word(&self.nonce.0)
            .hash()
    }
}

/// The nonce of an authorization: in JSON `0x` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce(
    /// The 32 bytes.
    pub B256,
);

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl TryFrom<String> for Nonce {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Nonce, &'static str> {
        let bytes = from_hex(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Nonce).ok_or("not a nonce of 0x and 64 hexadecimal digits")
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> String {
        to_hex(&nonce.0)
    }
}

/// A signature as it comes: an account's has [`SIGNATURE_BYTES`], any other length is a contract's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signature(Vec<u8>);

impl Signature {
    /// Reads `0x` and hexadecimal digits.
    pub fn parse(text: &str) -> Option<Signature> {
        let bytes = from_hex(text)?;
        (!bytes.is_empty() && bytes.len() <= CONTRACT_SIGNATURE_BYTES_MAX).then_some(Signature(bytes))
    }

    /// Whether only a contract can tell if it is good (EIP-1271, EIP-6492).
    pub fn is_contracts(&self) -> bool {
        self.0.len() != SIGNATURE_BYTES
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whose key signed the digest.
    ///
    /// # Errors
    /// It is not an account's, its `v` is not 27 or 28, its `s` is in the upper half (EIP-2: somebody else's spelling of
    /// a good signature), or it is no signature at all.
    pub fn recover(&self, digest: &B256) -> Result<Address, SignatureError> {
        let bytes: &[u8; SIGNATURE_BYTES] =
            self.0.as_slice().try_into().map_err(|_| SignatureError::Length { bytes: self.0.len() })?;
        let id = match bytes[64] {
            27 => RecoveryId::new(false, false),
            28 => RecoveryId::new(true, false),
            v => return Err(SignatureError::RecoveryId { v }),
        };
        let signature = EcdsaSignature::from_slice(&bytes[..64]).map_err(|_| SignatureError::NoSignature)?;
        if signature.normalize_s() != signature {
            return Err(SignatureError::HighS);
        }
        let key = VerifyingKey::recover_from_prehash(digest, &signature, id)
            .map_err(|_| SignatureError::NoSignature)?;
        Ok(Address::of_key(&key))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl TryFrom<String> for Signature {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Signature, &'static str> {
        Signature::parse(&text).ok_or("not a signature of 0x and hexadecimal digits")
    }
}

impl From<Signature> for String {
    fn from(signature: Signature) -> String {
        to_hex(&signature.0)
    }
}

/// Why a signature is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not an account's signature.
    #[error("a signature of {bytes} bytes is not an account's, which has 65")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// `v` is neither 27 nor 28.
    #[error("the signature's v is {v}, not 27 or 28")]
    RecoveryId {
        /// The last byte.
        v: u8,
    },
    /// `s` is in the upper half of its range.
    #[error("the signature's s is in the upper half of its range (EIP-2)")]
    HighS,
    /// No key could have made it.
    #[error("no key can have made the signature")]
    NoSignature,
    /// Made by another key than it should be.
    #[error("signed by {signer}, not by {expected}")]
    OtherSigner {
        /// Whose key made it.
        signer: Address,
        /// Whose should have.
        expected: Address,
    },
}

/// The key of an account: what a payer signs authorizations with, and a server offers and receipts.
pub struct Key(SigningKey);

impl Key {
    /// The key of these 32 bytes; `None` for the few that are no key.
    pub fn from_bytes(bytes: &B256) -> Option<Key> {
        SigningKey::from_slice(bytes).ok().map(Key)
    }

    /// The address of the account.
    pub fn address(&self) -> Address {
        Address::of_key(self.0.verifying_key())
    }

    /// Signs a digest; the same digest gets the same signature (RFC 6979), with a low `s`.
    pub fn sign(&self, digest: &B256) -> Signature {
        let (signature, id) = self.0.sign_prehash_recoverable(digest);
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + u8::from(id.is_y_odd()));
        Signature(bytes)
    }
}

/// The address and nothing of the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key of {}", self.address())
    }
}

/// Reads `0x` and an even number of hexadecimal digits.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    if digits.len() % 2 != 0 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits.chunks(2).map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}

/// Writes `0x` and hexadecimal digits in lower case.
pub fn to_hex(bytes: &[u8]) -> String {
    ["0x", &hex(bytes)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_ethereums() {
        let empty = "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470";
        assert_eq!(to_hex(&keccak256("")), empty);
        let transfer = "0x7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267";
        assert_eq!(to_hex(&keccak256(TRANSFER_TYPE)), transfer);
    }

    #[test]
    fn addresses_carry_the_checksum_of_eip_55() {
        // The examples of EIP-55.
        for text in [
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
            "0xde709f2102306220921060314715629080e2fb77",
            "0x27b1fdb04752bbc536007a920d24acb045561c26",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            assert_eq!(
                Address::parse_checked(text).map(|address| address.to_string()).as_deref(),
                Some(text)
            );
            assert_eq!(Address::parse_checked(&text.to_lowercase()), Address::parse(text));
        }
        let typo = "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        assert_eq!(Address::parse_checked(typo), None);
        assert!(Address::parse(typo).is_some(), "what a machine sends is compared, not read by eye");
        for text in ["", "0x", "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", &typo[..41], &format!("{typo}0")] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
        assert_eq!(Address::parse("0x+aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"), None);
        assert_eq!(Address::parse("0xéAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"), None);
    }

    #[test]
    fn a_signature_has_one_spelling() {
        let key = Key::from_bytes(&[0x11; 32]).expect("a key");
        let digest = keccak256("what is signed");
        let good = key.sign(&digest);
        assert_eq!(good.recover(&digest), Ok(key.address()));
        assert_eq!(good, key.sign(&digest));

        let mut bytes = good.as_bytes().to_vec();
        for v in [0, 1, 26, 29, 35] {
            bytes[64] = v;
            assert_eq!(Signature(bytes.clone()).recover(&digest), Err(SignatureError::RecoveryId { v }));
        }
        // n - s with the other v verifies as well, and is refused all the same.
        let order =
            from_hex("0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").expect("n");
        let mut high = good.as_bytes().to_vec();
        let mut borrow = 0_i16;
        for index in (0..32).rev() {
            let part = i16::from(order[index]) - i16::from(good.as_bytes()[32 + index]) - borrow;
            high[32 + index] = part.rem_euclid(256) as u8;
            borrow = i16::from(part < 0);
        }
        high[64] = 55 - good.as_bytes()[64];
        assert_eq!(Signature(high).recover(&digest), Err(SignatureError::HighS));
        for bytes in [vec![0; 65], [vec![0xff; 64], vec![27]].concat(), [vec![0; 64], vec![27]].concat()] {
            let mut bytes = bytes;
            bytes[64] = 27;
            assert_eq!(Signature(bytes).recover(&digest), Err(SignatureError::NoSignature));
        }
        assert_eq!(Signature(vec![1; 64]).recover(&digest), Err(SignatureError::Length { bytes: 64 }));
        assert!(Signature(vec![1; 97]).is_contracts() && !good.is_contracts());
        assert!(Key::from_bytes(&[0; 32]).is_none() && Key::from_bytes(&[0xff; 32]).is_none());
    }

    #[test]
    fn each_flipped_bit_is_another_signer_or_none() {
        let key = Key::from_bytes(&[0x22; 32]).expect("a key");
        let digest = keccak256("what is signed");
        let good = key.sign(&digest);
        for bit in 0..65 * 8 {
            let mut bytes = good.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Signature(bytes).recover(&digest), Ok(key.address()), "bit {bit}");
        }
    }
}
