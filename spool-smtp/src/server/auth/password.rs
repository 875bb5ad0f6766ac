//! Password hashes as the users file holds them: argon2id, bcrypt and SHA512-CRYPT.
//!
//! The cost of a hash is bounded when it is read, so that no line of the file can make one login take unbounded memory or
//! time. A hash is shown in no log, no error and no Debug output.

use crate::hidden::Hidden;
use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Block, Params, PasswordHasher, Version};
use ring::rand::{SecureRandom, SystemRandom};
use sha_crypt::{PasswordHashRef, PasswordVerifier, ShaCrypt};
use thiserror::Error;

/// The memory of one argon2id hash, in KiB.
const MAX_MEMORY: u32 = 128 << 10;
/// Passes of an argon2id hash over its memory.
const MAX_PASSES: u32 = 16;
/// Lanes of an argon2id hash; they are computed one after the other.
const MAX_LANES: u32 = 16;
/// The logarithm of the rounds of bcrypt: 2^14 take about a second.
const MAX_BCRYPT_COST: u32 = 14;
/// Rounds of SHA512-CRYPT: about a second.
const MAX_SHA_ROUNDS: u32 = 1_000_000;
/// Characters of a SHA512-CRYPT hash without its salt.
const SHA_CHARACTERS: usize = 86;
/// Hashes of new passwords: 19 MiB, two passes, one lane (OWASP Password Storage Cheat Sheet).
const NEW: (u32, u32, u32) = (19 << 10, 2, 1);
/// Bytes of a new salt.
const SALT: usize = 16;
/// Bytes of a password. SHA512-CRYPT takes time in proportion to the square of it.
pub const MAX_PASSWORD: usize = 1024;

/// Why a text is not a password hash that is supported.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HashError {
    /// A scheme that is not supported, or no scheme at all.
    #[error(
        "unknown password scheme; supported are argon2id ($argon2id$, {{ARGON2ID}}, {{ARGON2}}), bcrypt ($2y$, $2b$, {{BLF-CRYPT}}) and SHA512-CRYPT ($6$, {{SHA512-CRYPT}}), the last two also with {{CRYPT}}"
    )]
    Scheme,
    /// A known scheme with a malformed hash.
    #[error("malformed {0} hash")]
    Malformed(&'static str),
    /// A hash that would take too much memory or time.
    #[error("{0} hash is too expensive: at most {1}")]
    Expensive(&'static str, &'static str),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scheme {
    Argon2id,
    Bcrypt,
    Sha512Crypt,
}

/// A password hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordHash {
    scheme: Scheme,
    /// Without the prefix in braces.
    text: Hidden<String>,
}

/// Memory for argon2id, used again by the next hash.
pub(super) type HashMemory = Vec<Block>;

impl PasswordHash {
    /// Reads a hash as the users file holds it.
    ///
    /// # Errors
    /// [`HashError`].
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let (prefix, bare) = match text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((prefix, bare)) => (Some(prefix), bare),
            None => (None, text),
        };
        let is_bcrypt = bare.starts_with("$2y$") || bare.starts_with("$2b$");
        let scheme = match prefix.map(str::to_ascii_uppercase).as_deref() {
            None if bare.starts_with("$argon2id$") => Scheme::Argon2id,
            None | Some("BLF-CRYPT" | "CRYPT") if is_bcrypt => Scheme::Bcrypt,
            None | Some("CRYPT") if bare.starts_with("$6$") => Scheme::Sha512Crypt,
            Some("ARGON2ID" | "ARGON2") => Scheme::Argon2id,
            Some("SHA512-CRYPT") => Scheme::Sha512Crypt,
            None | Some(_) => return Err(HashError::Scheme),
        };
        match scheme {
            Scheme::Argon2id => argon2id(bare).map(drop)?,
            Scheme::Bcrypt => check_bcrypt(bare)?,
            Scheme::Sha512Crypt => check_sha512(bare)?,
        }
        Ok(Self {
            scheme,
            text: Hidden(bare.to_owned()),
        })
    }

    /// Hashes a new password: argon2id with a random salt.
    ///
    /// # Errors
    /// When the system has no random numbers or no memory.
    pub fn new(password: &[u8]) -> Result<Self, String> {
        let mut salt = [0; SALT];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| "the system gives no random numbers".to_owned())?;
        let (memory, passes, lanes) = NEW;
        let params = Params::new(memory, passes, lanes, None).map_err(|error| error.to_string())?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = argon
            .hash_password_with_salt(password, &salt)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            scheme: Scheme::Argon2id,
            text: Hidden(hash.to_string()),
        })
    }

    /// A hash that costs what a new one costs and that no known password has. Unknown names are checked against it when
    /// there is no user.
    pub(super) fn dummy() -> Self {
        Self {
            scheme: Scheme::Argon2id,
            text: Hidden(
                "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                    .to_owned(),
            ),
        }
    }

    /// The hash as the users file holds it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text.0
    }

    /// Whether it is the hash of `password`. Takes as long as the hash is expensive; hashes are compared in constant time.
    pub(super) fn is_of(&self, password: &[u8], memory: &mut HashMemory) -> bool {
        match self.scheme {
            Scheme::Argon2id => is_argon2id_of(&self.text.0, password, memory).unwrap_or(false),
            Scheme::Bcrypt => bcrypt::verify(password, &self.text.0).unwrap_or(false),
            Scheme::Sha512Crypt => PasswordHashRef::new(&self.text.0)
                .is_ok_and(|hash| ShaCrypt::SHA512.verify_password(password, hash).is_ok()),
        }
    }
}

/// The parts of an argon2id hash whose cost is within bounds.
fn argon2id(text: &str) -> Result<(Argon2<'static>, phc::PasswordHash), HashError> {
    const NAME: &str = "argon2id";
    let malformed = HashError::Malformed(NAME);
    let hash = phc::PasswordHash::new(text).map_err(|_| malformed.clone())?;
    let version = hash.version.and_then(|version| Version::try_from(version).ok());
    let params = Params::try_from(&hash).map_err(|_| malformed.clone())?;
    let (Some(version), true, Some(_), Some(_)) =
        (version, hash.algorithm.as_str() == NAME, &hash.salt, &hash.hash)
    else {
        return Err(malformed);
    };
    if params.m_cost() > MAX_MEMORY || params.t_cost() > MAX_PASSES || params.p_cost() > MAX_LANES {
        return Err(HashError::Expensive(NAME, "m=131072, t=16, p=16"));
    }
    Ok((Argon2::new(Algorithm::Argon2id, version, params), hash))
}

fn is_argon2id_of(text: &str, password: &[u8], memory: &mut HashMemory) -> Option<bool> {
    let (argon, hash) = argon2id(text).ok()?;
    let (salt, expected) = hash.salt.zip(hash.hash)?;
    let blocks = argon.params().block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::new());
    }
    let mut output = [0; phc::Output::MAX_LENGTH];
    let output = output.get_mut(..expected.len())?;
    argon
        .hash_password_into_with_memory(password, &salt, output, memory.get_mut(..blocks)?)
        .ok()?;
    // Output compares in constant time.
    Some(phc::Output::new(output).ok()? == expected)
}

fn check_bcrypt(text: &str) -> Result<(), HashError> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| HashError::Malformed("bcrypt"))?;
    match parts.get_cost() {
        0..4 => Err(HashError::Malformed("bcrypt")),
        4..=MAX_BCRYPT_COST => Ok(()),
        _ => Err(HashError::Expensive("bcrypt", "a cost of 14")),
    }
}

/// `$6$salt$hash` or `$6$rounds=N$salt$hash`.
fn check_sha512(text: &str) -> Result<(), HashError> {
    const NAME: &str = "SHA512-CRYPT";
    let malformed = || HashError::Malformed(NAME);
    let rest = text.strip_prefix("$6$").ok_or_else(malformed)?;
    let rest = match rest.strip_prefix("rounds=") {
        None => rest,
        Some(counted) => {
            let (rounds, rest) = counted.split_once('$').ok_or_else(malformed)?;
            match rounds.parse() {
                Ok(sha_crypt::Params::ROUNDS_MIN..=MAX_SHA_ROUNDS) => rest,
                Ok(0..sha_crypt::Params::ROUNDS_MIN) | Err(_) => return Err(malformed()),
                Ok(_) => return Err(HashError::Expensive(NAME, "rounds=1000000")),
            }
        }
    };
    let (salt, hash) = rest.split_once('$').ok_or_else(malformed)?;
    let of_crypt = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte))
    };
    let fits = (1..=16).contains(&salt.len()) && hash.len() == SHA_CHARACTERS;
    match fits && of_crypt(salt) && of_crypt(hash) && PasswordHashRef::new(text).is_ok() {
        true => Ok(()),
        false => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes of "pleaseletmein" by argon2-cffi 25.1, bcrypt 5.0 for Python ($2y$ is the same hash by the name that
    /// htpasswd gives it), glibc's crypt, and openssl passwd -6.
    const OTHERS: [&str; 5] = [
        "$argon2id$v=19$m=256,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$Bn19f/rnxRNuF2Eo0rm4NcahjjjvV6uMJ5oMeXPK16k",
        "$2b$05$s8MmEkBYZgFrAnrfgpdL/O50I8ElHRi9v.i9df1j0X3fR4J3OeOJi",
        "$2y$05$s8MmEkBYZgFrAnrfgpdL/O50I8ElHRi9v.i9df1j0X3fR4J3OeOJi",
        "$6$rounds=1000$saltstring$mUzaGDDVnOsq2tXwboJuEeMSdwHewrviq2hNFSCSVbOrWAkDHza1wpdVg81sUAfc1ki.xuLyu.h.JJmzHGXJa1",
        "$6$saltstring$SqyhDWidy1FyYQvxJS0mCfscyB71Ni5Yi9UsukwaGkrvtN5uj8uxcQrCB9XRTz8SWHp08vMi14NTi36I1YPJR.",
    ];

    #[test]
    fn hashes_of_other_programs_match_only_their_password() {
        let mut memory = HashMemory::new();
        for text in OTHERS {
            let hash = PasswordHash::parse(text).unwrap();
            // Twice: the second time in memory that has been used.
            assert!(hash.is_of(b"pleaseletmein", &mut memory), "{text}");
            assert!(hash.is_of(b"pleaseletmein", &mut memory), "{text}");
            for wrong in [&b""[..], b"pleaseletmei", b"pleaseletmein ", b"Pleaseletmein"] {
                assert!(!hash.is_of(wrong, &mut memory), "{text}");
            }
        }
    }

    #[test]
    fn prefixes_of_dovecot_are_taken_off() {
        let [argon, two_b, two_y, sha, six] = OTHERS;
        for text in [
            format!("{{ARGON2ID}}{argon}"),
            format!("{{argon2}}{argon}"),
            format!("{{SHA512-CRYPT}}{sha}"),
            format!("{{BLF-CRYPT}}{two_b}"),
            format!("{{blf-crypt}}{two_y}"),
            format!("{{CRYPT}}{two_b}"),
            format!("{{CRYPT}}{two_y}"),
            format!("{{CRYPT}}{six}"),
        ] {
            let hash = PasswordHash::parse(&text).unwrap();
            assert!(hash.is_of(b"pleaseletmein", &mut HashMemory::new()), "{text}");
            assert!(!format!("{hash:?}").contains(&hash.text.0), "{hash:?}");
        }
    }

    #[test]
    fn a_new_hash_is_of_its_password_and_is_read_back() {
        let hash = PasswordHash::new("pässword".as_bytes()).unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let read = PasswordHash::parse(hash.as_str()).unwrap();
        assert!(read == hash && read.is_of("pässword".as_bytes(), &mut HashMemory::new()));
        assert_ne!(hash, PasswordHash::new("pässword".as_bytes()).unwrap(), "salted");
        let dummy = PasswordHash::dummy();
        assert_eq!(PasswordHash::parse(dummy.as_str()), Ok(dummy));
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        let output = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let argon = |id: &str, params: &str| format!("${id}${params}$AAAAAAAAAAAAAAAAAAAAAA${output}");
        let sha = "a".repeat(86);
        for (text, expected) in [
            (String::new(), HashError::Scheme),
            ("secret".into(), HashError::Scheme),
            ("{PLAIN}secret".into(), HashError::Scheme),
            ("{ARGON2ID".into(), HashError::Scheme),
            ("{CRYPT}$1$salt$hash".into(), HashError::Scheme),
            ("{CRYPT}ab01FAX.bQRSU".into(), HashError::Scheme),
            (format!("{{CRYPT}}{}", OTHERS[0]), HashError::Scheme),
            (format!("{{BLF-CRYPT}}{}", OTHERS[4]), HashError::Scheme),
            (
                format!("{{BLF-CRYPT}}{}", OTHERS[1].replace("$05$", "$15$")),
                HashError::Expensive("bcrypt", "a cost of 14"),
            ),
            ("$1$salt$hash".into(), HashError::Scheme),
            ("$5$salt$hash".into(), HashError::Scheme),
            ("$2a$10$x".into(), HashError::Scheme),
            (argon("argon2i", "v=19$m=19456,t=2,p=1"), HashError::Scheme),
            (
                format!("{{ARGON2}}{}", argon("argon2i", "v=19$m=19456,t=2,p=1")),
                HashError::Malformed("argon2id"),
            ),
            (
                argon("argon2id", "m=19456,t=2,p=1"),
                HashError::Malformed("argon2id"),
            ),
            (
                "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA".into(),
                HashError::Malformed("argon2id"),
            ),
            ("$argon2id$".into(), HashError::Malformed("argon2id")),
            (
                argon("argon2id", "v=19$m=131073,t=2,p=1"),
                HashError::Expensive("argon2id", "m=131072, t=16, p=16"),
            ),
            (
                argon("argon2id", "v=19$m=19456,t=17,p=1"),
                HashError::Expensive("argon2id", "m=131072, t=16, p=16"),
            ),
            ("$2y$10$short".into(), HashError::Malformed("bcrypt")),
            (
                OTHERS[1].replace("$05$", "$15$"),
                HashError::Expensive("bcrypt", "a cost of 14"),
            ),
            (OTHERS[1].replace("$05$", "$03$"), HashError::Malformed("bcrypt")),
            (
                format!("$6$salt${}", &sha[1..]),
                HashError::Malformed("SHA512-CRYPT"),
            ),
            (
                format!("$6$rounds=999$salt${sha}"),
                HashError::Malformed("SHA512-CRYPT"),
            ),
            (
                format!("$6$rounds=x$salt${sha}"),
                HashError::Malformed("SHA512-CRYPT"),
            ),
            (
                format!("$6$sa\u{e4}t${sha}"),
                HashError::Malformed("SHA512-CRYPT"),
            ),
            (format!("$6$$${sha}"), HashError::Malformed("SHA512-CRYPT")),
            (
                format!("$6$rounds=1000001$salt${sha}"),
                HashError::Expensive("SHA512-CRYPT", "rounds=1000000"),
            ),
        ] {
            assert_eq!(PasswordHash::parse(&text), Err(expected), "{text}");
        }
    }
}
