//! What one sender sent just before: to know the same letter to somebody else, and a login after wrong passwords.
//!
//! *In*: letters, logins, client networks. *Out*: marks. *Bound*: [`LETTERS`] letters. *Spec*: docs/detection.md,
//! marks; letters are compared by SimHash (Charikar 2002), near where at most [`NEAR_BITS`] of 64 bits differ.

use serde::{Deserialize, Serialize};

/// Letters remembered.
const LETTERS: usize = 4;
/// Most bits in which nearly equal letters differ (Manku, Jain, Das Sarma, WWW 2007: 3 of 64).
const NEAR_BITS: u32 = 3;
/// Wrong passwords after which a right one counts as guessed.
const WRONG_PASSWORDS: u8 = 10;

/// What one sender sent just before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    letters: [u64; LETTERS],
    next: u8,
    wrong_passwords: u8,
    login_day: Option<i32>,
    network: u32,
}

impl Recent {
    /// Whether nearly this letter was sent just before; remembers it.
    pub fn letter(&mut self, similarity: u64) -> bool {
        let near = |known: &&mut u64| **known != 0 && (**known ^ similarity).count_ones() <= NEAR_BITS;
        if let Some(known) = self.letters.iter_mut().find(near) {
            *known = similarity;
            return true;
        }
        self.letters[usize::from(self.next) % LETTERS] = similarity;
        self.next = (self.next + 1) % LETTERS as u8;
        false
    }

    /// Whether a login came after many wrong passwords. Right ones are asked once a day: a program that logs in
    /// every minute says nothing new.
    pub fn login(&mut self, succeeded: bool, day: i64) -> Option<bool> {
        if !succeeded {
            self.wrong_passwords = self.wrong_passwords.saturating_add(1);
            return None;
        }
        let guessed = std::mem::take(&mut self.wrong_passwords) >= WRONG_PASSWORDS;
        let day = i32::try_from(day).unwrap_or(i32::MAX);
        let first = self.login_day.replace(day) != Some(day);
        (guessed || first).then_some(guessed)
    }

    /// Whether a message was handed in from another network than the one before; remembers it. `None` for the
    /// first.
    pub fn network(&mut self, digest: u64) -> Option<bool> {
        // 0 stands for none.
        let digest = (digest as u32).max(1);
        let before = std::mem::replace(&mut self.network, digest);
        (before != 0).then_some(before != digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_the_same_letter_is_known_for_four_letters() {
        let mut recent = Recent::default();
        assert!(!recent.letter(0xffff_0000_ffff_0000));
        assert!(recent.letter(0xffff_0000_ffff_0007));
        assert!(!recent.letter(0xffff_0000_ffff_00f8));
        for other in [1u64 << 40, 0xff << 20, 0xffff << 30, u64::MAX] {
            assert!(!recent.letter(other));
        }
        assert!(!recent.letter(0xffff_0000_ffff_0007));
    }

    #[test]
    fn a_password_found_after_many_tries_is_guessed() {
        let mut recent = Recent::default();
        assert_eq!((recent.login(true, 1), recent.login(true, 1)), (Some(false), None));
        (0..12).for_each(|_| assert_eq!(recent.login(false, 1), None));
        assert_eq!((recent.login(true, 1), recent.login(true, 2)), (Some(true), Some(false)));
    }

    #[test]
    fn a_network_changes_only_against_one_before() {
        let mut recent = Recent::default();
        assert_eq!([5, 5, 6].map(|digest| recent.network(digest)), [None, Some(false), Some(true)]);
    }
}
