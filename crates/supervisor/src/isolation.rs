//! Whether a site's Python runs in the engine or in processes of its own: the derivation, with its reasons in words.
//!
//! A pure function of what the sites ask for. Must not know what runs at the moment.
//!
//! Source: DESIGN section 1.

use std::collections::BTreeMap;

use onebox_config::site::IsolationChoice;

use crate::api::Mode;

/// What the derivation looks at, for one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its name.
    pub(crate) site: String,
    /// Its Python; `None` for a site without.
    pub(crate) python: Option<PythonFacts>,
    /// Whether other servers answer for it instead.
    pub(crate) is_proxied: bool,
}

/// The same for what concerns Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PythonFacts {
    /// `isolation`
    pub(crate) choice: IsolationChoice,
    /// The settings that only processes of its own can have, as they stand in its configuration.
    pub(crate) own_processes: Vec<String>,
    /// Whom it runs as, where that is not the engine's user.
    pub(crate) runs_as: Option<String>,
    /// Whether its interpreter has a shared library that can be loaded into a process.
    pub(crate) can_be_loaded: bool,
    /// Whether engines that embedded it ended by themselves or were wedged again and again.
    pub(crate) ends_engines: bool,
}

/// How a site runs, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    /// How.
    pub(crate) mode: Mode,
    /// Every reason, a sentence each.
    pub(crate) reasons: Vec<String>,
}

/// A site that asks to be embedded and can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`isolation = \"embedded\"` can't be kept for {site}: {reason}")]
pub(crate) struct CannotEmbed {
    /// The site.
    pub(crate) site: String,
    /// Why not, without a full stop.
    pub(crate) reason: String,
}

/// Derives how every site of the box runs. The order of `sites` does not matter.
///
/// # Errors
/// [`CannotEmbed`] for the first site, by name, that asks for what can't be.
pub(crate) fn derive(sites: &[Facts]) -> Result<BTreeMap<String, Placement>, CannotEmbed> {
    let mut with_python: Vec<&str> = sites
        .iter()
        .filter(|facts| facts.python.is_some())
        .map(|facts| facts.site.as_str())
        .collect();
    with_python.sort_unstable();
    let mut insistent: Vec<&str> = sites
        .iter()
        .filter(|facts| {
            facts.python.as_ref().is_some_and(|python| python.choice == IsolationChoice::Embedded)
        })
        .map(|facts| facts.site.as_str())
        .collect();
    insistent.sort_unstable();
    sites
        .iter()
        .map(|facts| {
            let placement = match &facts.python {
                None if facts.is_proxied => Placement {
                    mode: Mode::Proxied,
                    reasons: vec!["It has no Python: the engine asks the servers it names.".into()],
                },
                None => Placement {
                    mode: Mode::Static,
                    reasons: vec!["It has no Python: its files are served by the engine.".into()],
                },
                Some(python) => place(&facts.site, python, &with_python, &insistent)?,
            };
            Ok((facts.site.clone(), placement))
        })
        .collect()
}

fn place(
    site: &str,
    python: &PythonFacts,
    with_python: &[&str],
    insistent: &[&str],
) -> Result<Placement, CannotEmbed> {
    let mut reasons = needs_processes(python);
    if python.choice == IsolationChoice::Embedded {
        if let Some(other) = insistent.iter().find(|other| **other != site) {
            reasons.push(format!("{other} asks for the same, and one process has one interpreter"));
        }
        if !reasons.is_empty() {
            return Err(CannotEmbed { site: site.to_owned(), reason: reasons.join("; ") });
        }
        return Ok(embedded("`isolation = \"embedded\"` asks for it."));
    }
    if python.choice == IsolationChoice::Process {
        reasons.push("`isolation = \"process\"` asks for it".into());
    }
    if with_python.len() > 1 {
        reasons.push(format!(
            "the box has several Python sites ({}), and one process has one interpreter",
            with_python.join(", ")
        ));
    }
    if reasons.is_empty() {
        return Ok(embedded(
            "It is the only Python site of the box, and nothing it asks for needs a process of its own.",
        ));
    }
    Ok(Placement { mode: Mode::Isolated, reasons: reasons.iter().map(|r| sentence(r)).collect() })
}

fn needs_processes(python: &PythonFacts) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some((last, others)) = python.own_processes.split_last() {
        reasons.push(match others {
            [] => format!("{last} needs a process of its own"),
            others => format!("{} and {last} need a process of its own", others.join(", ")),
        });
    }
    if let Some(user) = &python.runs_as {
        reasons.push(format!("it runs as {user}, and the engine does not"));
    }
    if !python.can_be_loaded {
        reasons
            .push("its Python has no shared library that could be loaded into the engine".into());
    }
    if python.ends_engines {
        reasons.push("it ended or wedged the engine twice in ten minutes".into());
    }
    reasons
}

fn embedded(reason: &str) -> Placement {
    Placement {
        mode: Mode::Embedded,
        reasons: vec![
            reason.to_owned(),
            "An embedded application shares the memory of the engine.".to_owned(),
        ],
    }
}

fn sentence(reason: &str) -> String {
    let mut characters = reason.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(site: &str) -> Facts {
        let python = PythonFacts {
            choice: IsolationChoice::Auto,
            own_processes: Vec::new(),
            runs_as: None,
            can_be_loaded: true,
            ends_engines: false,
        };
        Facts { site: site.into(), python: Some(python), is_proxied: false }
    }

    fn with(site: &str, change: impl FnOnce(&mut PythonFacts)) -> Facts {
        let mut facts = python(site);
        facts.python.as_mut().map(change).unwrap();
        facts
    }

    fn modes(sites: &[Facts]) -> Vec<Mode> {
        let placements = derive(sites).unwrap();
        sites.iter().map(|facts| placements[&facts.site].mode).collect()
    }

    #[test]
    fn the_only_python_site_is_embedded_beside_static_ones() {
        let files = Facts { site: "files".into(), python: None, is_proxied: false };
        let proxied = Facts { site: "proxied".into(), python: None, is_proxied: true };
        let expected = [Mode::Embedded, Mode::Static, Mode::Proxied];
        assert_eq!(modes(&[python("blog"), files, proxied]), expected);
    }

    #[test]
    fn several_python_sites_are_all_isolated() {
        let sites = [python("blog"), python("shop")];
        assert_eq!(modes(&sites), [Mode::Isolated, Mode::Isolated]);
        let reasons = &derive(&sites).unwrap()["shop"].reasons;
        assert_eq!(
            reasons,
            &[
                "The box has several Python sites (blog, shop), and one process has one interpreter."
            ]
        );
    }

    #[test]
    fn what_a_site_asks_for_isolates_it_with_every_reason() {
        let site = with("blog", |python| {
            python.own_processes = vec!["`processes = 2`".to_owned()];
            python.runs_as = Some("www-data".to_owned());
            python.can_be_loaded = false;
            python.ends_engines = true;
            python.choice = IsolationChoice::Process;
        });
        let placement = &derive(&[site]).unwrap()["blog"];
        assert_eq!(placement.mode, Mode::Isolated);
        assert_eq!(placement.reasons.len(), 5);
    }

    #[test]
    fn settings_that_need_a_process_are_named_in_one_sentence() {
        let settings = |names: &[&str]| {
            let site = with("blog", |python| {
                python.own_processes = names.iter().map(ToString::to_string).collect();
            });
            derive(&[site]).unwrap()["blog"].reasons.clone()
        };
        assert_eq!(settings(&["`idle`"]), ["`idle` needs a process of its own."]);
        let several = settings(&["`idle`", "`max-requests`", "`memory-limit`"]);
        assert_eq!(
            several,
            ["`idle`, `max-requests` and `memory-limit` need a process of its own."]
        );
    }

    #[test]
    fn a_site_that_insists_stays_embedded_beside_others() {
        let insists = with("blog", |python| python.choice = IsolationChoice::Embedded);
        assert_eq!(modes(&[insists, python("shop")]), [Mode::Embedded, Mode::Isolated]);
    }

    #[test]
    fn two_that_insist_are_an_error() {
        let insist = |site| with(site, |python| python.choice = IsolationChoice::Embedded);
        let error = derive(&[insist("blog"), insist("shop")]).unwrap_err();
        assert_eq!(error.site, "blog");
        assert!(error.to_string().contains("shop asks for the same"));
    }

    #[test]
    fn insisting_with_two_processes_is_an_error() {
        let site = with("blog", |python| {
            python.choice = IsolationChoice::Embedded;
            python.own_processes = vec!["`processes = 2`".to_owned()];
        });
        assert!(derive(&[site]).unwrap_err().reason.contains("processes = 2"));
    }
}
