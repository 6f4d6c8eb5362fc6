//! Random conditions on keys and values, such that many hold for some of them; and a few that are
//! refused.

use kv_testkit::model::{Conditions, Pattern, ValueCondition};

use super::generate::VALUES;
use crate::seed::Random;

/// Whatever is near a value, or is one; and what is no number.
pub(super) const NUMBERS: [&str; 9] =
    ["0", "-3", "7", "-0.50", "+3.5", "1e1", "9223372036854775806.5", "-1e3", "seven"];
/// What keys are made of, for both kinds of patterns.
const OF_KEYS: [&str; 9] = ["a", "b", "bb", "/", "0", "00", "1", "\u{7f}", "é"];
/// What values are made of.
const OF_VALUES: [&str; 7] = ["7", "-", "3", "0", "1e1", "s", "even"];

/// None as often as not.
pub(super) fn random(random: &mut Random) -> Conditions {
    let mut conditions = Conditions::default();
    if random.percent(35) {
        conditions.key = Some(pattern(random, &OF_KEYS));
    }
    if random.percent(35) {
        conditions.value = Some(value(random));
    }
    conditions
}

fn value(random: &mut Random) -> ValueCondition {
    let (one, other) = (random.one_of(&VALUES).to_string(), random.one_of(&VALUES).to_string());
    match random.below(6) {
        0 => ValueCondition::Equal(one),
        1 | 2 => ValueCondition::Matches(pattern(random, &OF_VALUES)),
        // Sometimes the wrong way round.
        3 if random.percent(90) => {
            ValueCondition::Range(one.clone().min(other.clone()), one.max(other))
        }
        3 => ValueCondition::Range(one.clone().max(other.clone()), one.min(other)),
        _ => {
            let low = random.one_of(&["-1e3", "-3", "-0.5", "0", "6.99", "7", "1e1"]);
            ValueCondition::Number(low.into(), random.one_of(&NUMBERS).into())
        }
    }
}

fn pattern(random: &mut Random, of: &[&str]) -> Pattern {
    if random.percent(50) { glob(random, of) } else { regex(random, of) }
}

fn glob(random: &mut Random, of: &[&str]) -> Pattern {
    let mut glob = String::new();
    for _ in 0..random.below(5) {
        glob.push_str(match random.below(8) {
            0..3 => random.one_of(of),
            3..6 => "*",
            6 => "?",
            _ => random.one_of(&["[^0]", "[0-7/]", "[!a]", "[éb]", "\\0", "\\/", "\0"]),
        });
    }
    if random.percent(3) {
        glob.push_str(random.one_of(&["[", "\\"]));
    }
    Pattern::Glob(glob)
}

fn regex(random: &mut Random, of: &[&str]) -> Pattern {
    let mut regex = String::from(if random.percent(50) { "^" } else { "" });
    for _ in 0..random.below(4) {
        regex.push_str(match random.below(4) {
            0..2 => random.one_of(of),
            2 => ".",
            _ => random.one_of(&["[^0]", "[0-7/]", "[éb]", "\\/", "\0"]),
        });
        regex.push_str(random.one_of(&["", "", "*", "+", "?"]));
    }
    if random.percent(40) {
        regex.push('$');
    }
    if random.percent(3) {
        regex.push_str(random.one_of(&["[", "("]));
    }
    Pattern::Regex(regex)
}
