//! A `Procfile`: a process type and its command a line, as Heroku's sites have it.
//!
//! Owns the lines, not what their commands mean: which application `web` runs is for the deploy to find out, which
//! sees the site's files. Source: <https://devcenter.heroku.com/articles/procfile#procfile-format>.

/// What a `Procfile` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Procfile {
    /// The command of `web:`, which names the application.
    pub web: Option<String>,
    /// The command of `release:`, to be run before the release becomes live.
    pub release: Option<String>,
    /// Background processes, name and command: this version does not run them, and says so.
    pub others: Vec<(String, String)>,
    /// Lines that are not `name: command`, counted from 1, with their text.
    pub unread: Vec<(usize, String)>,
}

/// Reads the text of a `Procfile`. Of two lines with the same name the last one counts.
pub fn parse(text: &str) -> Procfile {
    let mut procfile = Procfile::default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match process(line) {
            Some(("web", command)) => procfile.web = Some(command.to_owned()),
            Some(("release", command)) => procfile.release = Some(command.to_owned()),
            Some((name, command)) => {
                procfile.others.retain(|(other, _)| other != name);
                procfile.others.push((name.to_owned(), command.to_owned()));
            }
            None => procfile.unread.push((number, line.to_owned())),
        }
    }
    procfile
}

/// The name and the command of one line.
fn process(line: &str) -> Option<(&str, &str)> {
    let (name, command) = line.split_once(':')?;
    let (name, command) = (name.trim_end(), command.trim_start());
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    (!name.is_empty() && is_name(name) && !command.is_empty()).then_some((name, command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_is_found_with_its_command() {
        let procfile = parse(
            "# a site\nweb: gunicorn mysite.wsgi --log-file -\r\nrelease: python manage.py migrate\n\
             worker:celery -A mysite worker\n  clock : python clock.py\n",
        );
        assert_eq!(procfile.web.as_deref(), Some("gunicorn mysite.wsgi --log-file -"));
        assert_eq!(procfile.release.as_deref(), Some("python manage.py migrate"));
        let worker = ("worker".to_owned(), "celery -A mysite worker".to_owned());
        assert_eq!(procfile.others, [worker, ("clock".to_owned(), "python clock.py".to_owned())]);
        assert!(procfile.unread.is_empty());
    }

    #[test]
    fn the_last_of_two_lines_with_one_name_counts() {
        let procfile = parse("web: a\nw: 1\nweb: b\nw: 2\n");
        assert_eq!(procfile.web.as_deref(), Some("b"));
        assert_eq!(procfile.others, [("w".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn lines_that_are_no_process_are_told_with_their_number() {
        let procfile = parse("web gunicorn\n\nweb:\nmy web: x\n: y\n");
        let numbers: Vec<usize> = procfile.unread.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 3, 4, 5]);
        assert_eq!(procfile.web, None);
    }
}
