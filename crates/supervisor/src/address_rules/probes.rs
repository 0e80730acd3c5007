//! Paths that nobody follows a link to: scanners ask for them, to see whether there is a hole.
//!
//! What a crawler may still have from an earlier site under the same name (`/old.php`, `/wp-content/uploads/…`) is none of them.

/// Parts of paths, in lower case.
const PARTS: [&str; 36] = [
    "wp-login.php",
    "wp-config",
    "wp-admin/",
    "xmlrpc.php",
    "wlwmanifest.xml",
    "phpmyadmin",
    "/pma/",
    "adminer",
    "phpinfo",
    "phpunit",
    "eval-stdin.php",
    "/cgi-bin/",
    "/etc/passwd",
    "/proc/self/",
    "/actuator",
    "/solr/",
    "/struts",
    "/boaform",
    "/hnap1",
    "/gponform",
    "/owa/",
    "/ecp/",
    "/autodiscover",
    "/_ignition",
    "/telescope/requests",
    "/server-status",
    "/manager/html",
    "web.config",
    "/jmx-console",
    "/_profiler",
    "id_rsa",
    "credentials.json",
    "docker-compose.y",
    "/shell.php",
    "/latest/meta-data",
    "/setup-config.php",
];
/// What such files end with.
const ENDS: [&str; 6] = [".sql", ".bak", ".env", ".sql.gz", "/config.php", ".php~"];
/// The one folder with a dot that is there for others (RFC 8615).
const WELL_KNOWN: &str = "/.well-known/";

/// Whether only a scanner asks for this path.
pub(super) fn is_probe(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let has_dot = path.contains("/.") && !path.starts_with(WELL_KNOWN);
    has_dot
        || PARTS.iter().any(|part| path.contains(part))
        || ENDS.iter().any(|end| path.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanners_are_told_from_people_and_crawlers() {
        for path in [
            "/.env",
            "/app/.git/config",
            "/WP-Login.php",
            "/blog/wp-admin/install.php",
            "/phpMyAdmin/index.php",
            "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php",
            "/backup.sql",
        ] {
            assert!(is_probe(path), "{path}");
        }
        for path in [
            "/",
            "/old.php",
            "/wp-content/uploads/2019/photo.jpg",
            "/.well-known/acme-challenge/x",
            "/.well-known/security.txt",
            "/apple-touch-icon.png",
            "/robots.txt",
            "/about/environment",
            "/articles/2024/sql-for-beginners",
        ] {
            assert!(!is_probe(path), "{path}");
        }
    }
}
