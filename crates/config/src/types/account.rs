//! Users and groups in settings: names or numbers, looked up on this machine.

use super::{Invalid, must_be};
use crate::accounts::{self, Account};
use crate::value::Value;

/// A user; one that only has a number is in the group of the same number.
pub(crate) fn user(value: &Value) -> Result<Account, Invalid> {
    let user = name_or_number(value)?;
    let of_number = || user.parse().ok().map(|number| Account::of_numbers(number, number));
    Account::find(&user).or_else(of_number).ok_or_else(|| {
        Invalid::new(format!("this machine has no user \"{user}\""))
            .hint(format!("make it: useradd --system {user}; or name another one"))
    })
}

/// The number of a group.
pub(crate) fn group(value: &Value) -> Result<u32, Invalid> {
    let group = name_or_number(value)?;
    accounts::group_number(&group).ok_or_else(|| {
        Invalid::new(format!("this machine has no group \"{group}\""))
            .hint(format!("make it: groupadd --system {group}; or name another one"))
    })
}

fn name_or_number(value: &Value) -> Result<String, Invalid> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@');
    match value {
        Value::Integer(number) => somebodys(i128::from(*number)),
        Value::Text(text) if let Ok(number) = text.parse() => somebodys(number),
        Value::Text(text) if !text.is_empty() && text.chars().all(is_plain) => Ok(text.clone()),
        Value::Text(text) => {
            Err(Invalid::new(format!("\"{text}\" is neither a name nor a number")))
        }
        other => Err(must_be("a name or a number", other)),
    }
}

/// To system calls the largest number means "leave it as it is", and so did the largest of sixteen bits (chown(2), Debian Policy
/// §9.2.2).
fn somebodys(number: i128) -> Result<String, Invalid> {
    match u32::try_from(number) {
        Ok(own) if own != u32::MAX && own != u32::from(u16::MAX) => Ok(own.to_string()),
        _ => Err(Invalid::new(format!("{number} is nobody's number"))
            .hint("0 to 4294967294 are numbers of users and groups, without 65535; or name one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_nobody_can_have_is_refused_in_every_form() {
        let texts = ["4294967295", "04294967295", "-1", "65535", "4294967296", "+65535"];
        let texts = texts.map(|text| Value::Text(text.to_owned()));
        let integers = [i64::from(u32::MAX), -1, 65_535, i64::MAX].map(Value::Integer);
        let long = Value::Text("99999999999999999999".to_owned());
        for value in texts.into_iter().chain(integers).chain([long]) {
            for error in [user(&value).unwrap_err(), group(&value).unwrap_err()] {
                assert!(error.message.contains("nobody's number"), "{value:?}: {error}");
                assert!(error.hint.is_some(), "{value:?}");
            }
        }
    }

    #[test]
    fn a_number_without_a_name_is_in_the_group_of_the_same_number() {
        let account = Account::of_numbers(4_000_000, 4_000_000);
        assert_eq!(user(&Value::Integer(4_000_000)), Ok(account.clone()));
        assert_eq!(user(&Value::Text("04000000".to_owned())), Ok(account));
        assert_eq!(group(&Value::Text("4000000".to_owned())), Ok(4_000_000));
    }
}
