//! Names of users and groups → their numbers, as the machine's own files have them.
//!
//! Source: passwd(5), group(5).

use std::path::Path;

/// The number of a user; a number stands for itself.
pub(super) fn user(name: &str) -> Option<u32> {
    number(Path::new("/etc/passwd"), name)
}

/// The number of a group; a number stands for itself.
pub(super) fn group(name: &str) -> Option<u32> {
    number(Path::new("/etc/group"), name)
}

/// Both files have the name first and the number third.
fn number(file: &Path, name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        fields.nth(1)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_zero_everywhere_and_a_number_is_itself() {
        assert_eq!((user("root"), group("root")), (Some(0), Some(0)));
        assert_eq!((user("4711"), group("nobody-has-this-name")), (Some(4711), None));
    }
}
