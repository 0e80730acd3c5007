//! Tables by the sections of RFC 9111.

use std::time::UNIX_EPOCH;

use onebox_config::site::CacheRules;

use super::*;
use crate::testing;

type Fields<'a> = &'a [(&'a str, &'a str)];

const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const HOUR_LATER: &str = "Sun, 06 Nov 1994 09:49:37 GMT";
const HOUR_EARLIER: &str = "Sun, 06 Nov 1994 07:49:37 GMT";
const LONG_AGO: &str = "Sat, 06 Nov 1993 08:49:37 GMT";

fn settings(rules: CacheRules) -> Settings {
    Settings::of(&CacheRules { enabled: Some(true), ..rules }).unwrap()
}

fn by_default() -> Settings {
    settings(CacheRules::default())
}

fn came() -> Came {
    let at = Instant::now();
    Came { asked_at: at, at, date: UNIX_EPOCH + s(784_111_777) }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn answer(headers: Fields<'_>) -> Vec<(Bytes, Bytes)> {
    let field = |(name, value): &(&str, &str)| {
        (Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
    };
    headers.iter().map(field).collect()
}

fn stored_by(
    settings: &Settings,
    request: Fields<'_>,
    (status, headers): (u16, Fields<'_>),
    came: Came,
) -> Option<Terms> {
    let request = testing::get("/", request);
    let asked = RequestDirectives::of(&request);
    terms(&request, &asked, Head { status, headers: &answer(headers) }, came, settings)
}

fn stored(request: Fields<'_>, status: u16, headers: Fields<'_>) -> Option<Terms> {
    stored_by(&by_default(), request, (status, headers), came())
}

#[test]
fn section_3_says_what_may_be_stored() {
    let table: &[(u16, Fields<'_>, bool)] = &[
        (200, &[("Cache-Control", "max-age=60")], true),
        (200, &[("Cache-Control", "s-maxage=60")], true),
        (200, &[("Expires", HOUR_LATER)], true),
        (200, &[("Last-Modified", LONG_AGO)], true),
        (200, &[], false),
        (200, &[("ETag", "\"a\"")], false),
        (200, &[("Cache-Control", "no-cache"), ("ETag", "\"a\"")], true),
        (200, &[("Cache-Control", "max-age=0"), ("Last-Modified", LONG_AGO)], true),
        (200, &[("Cache-Control", "max-age=0")], false),
        (200, &[("Cache-Control", "no-cache")], false),
        (200, &[("Cache-Control", "max-age=0, stale-while-revalidate=60")], true),
        (200, &[("Cache-Control", "no-store, max-age=60")], false),
        (200, &[("Cache-Control", "NO-STORE"), ("Cache-Control", "max-age=60")], false),
        (200, &[("Cache-Control", "private, max-age=60")], false),
        (200, &[("Cache-Control", "private=\"X-A\", max-age=60")], true),
        (200, &[("Cache-Control", "max-age=60"), ("Set-Cookie", "a=1")], false),
        (200, &[("Cache-Control", "public, max-age=60"), ("Set-Cookie", "a=1")], false),
        (
            200,
            &[("Cache-Control", "no-cache=\"Set-Cookie\", max-age=60"), ("Set-Cookie", "a=1")],
            true,
        ),
        (203, &[("Last-Modified", LONG_AGO)], true),
        (404, &[("Last-Modified", LONG_AGO)], true),
        (302, &[("Last-Modified", LONG_AGO)], false),
        (302, &[("Last-Modified", LONG_AGO), ("Cache-Control", "public")], true),
        (302, &[("Cache-Control", "max-age=60")], true),
        (500, &[("Cache-Control", "max-age=60")], true),
        (599, &[("Cache-Control", "max-age=60")], true),
        (206, &[("Cache-Control", "max-age=60")], false),
        (304, &[("Cache-Control", "max-age=60")], false),
        (200, &[("Cache-Control", "must-understand, no-store, max-age=60")], true),
        (299, &[("Cache-Control", "must-understand, max-age=60")], false),
        (299, &[("Cache-Control", "must-understand, no-store, max-age=60")], false),
        (200, &[("Cache-Control", "no-store"), ("CDN-Cache-Control", "max-age=60")], true),
        (200, &[("Cache-Control", "max-age=60"), ("CDN-Cache-Control", "no-store")], false),
    ];
    for (status, headers, expected) in table {
        assert_eq!(stored(&[], *status, headers).is_some(), *expected, "{status} {headers:?}");
    }
    let post = testing::request(Method::POST, "/", &[]);
    let headers = answer(&[("Cache-Control", "max-age=60")]);
    let head = Head { status: 200, headers: &headers };
    assert_eq!(terms(&post, &RequestDirectives::default(), head, came(), &by_default()), None);
    assert_eq!(
        stored(&[("cache-control", "no-store")], 200, &[("Cache-Control", "max-age=60")]),
        None
    );
}

#[test]
fn section_3_5_answers_to_credentials_must_be_meant_for_all() {
    let table = [
        ("max-age=60", false),
        ("private, max-age=60", false),
        ("public, max-age=60", true),
        ("s-maxage=60", true),
        ("must-revalidate, max-age=60", true),
    ];
    for (value, expected) in table {
        let found = stored(&[("authorization", "Basic x")], 200, &[("Cache-Control", value)]);
        assert_eq!(found.is_some(), expected, "{value}");
    }
}

#[test]
fn section_4_2_1_the_first_of_these_is_the_lifetime() {
    let table: &[(Fields<'_>, Duration)] = &[
        (&[("Cache-Control", "max-age=60")], s(60)),
        (&[("Cache-Control", "max-age=60, s-maxage=30")], s(30)),
        (&[("Cache-Control", "max-age=30, s-maxage=60")], s(60)),
        (&[("Cache-Control", "max-age=60"), ("Expires", HOUR_LATER)], s(60)),
        (&[("Expires", HOUR_LATER), ("Date", NOW)], s(3600)),
        (&[("Expires", HOUR_LATER), ("Date", HOUR_EARLIER)], s(7200)),
        (&[("Expires", HOUR_LATER)], s(3600)),
        (&[("Expires", "0"), ("ETag", "\"a\"")], s(0)),
        (&[("Expires", HOUR_EARLIER), ("ETag", "\"a\"")], s(0)),
        (&[("Expires", HOUR_LATER), ("Expires", NOW), ("ETag", "\"a\"")], s(0)),
        (&[("Cache-Control", "max-age=x"), ("Expires", HOUR_LATER), ("ETag", "\"a\"")], s(0)),
        // §4.2.2
        (&[("Last-Modified", HOUR_EARLIER)], s(360)),
        (&[("Last-Modified", LONG_AGO)], s(86_400)),
    ];
    for (headers, lifetime) in table {
        assert_eq!(stored(&[], 200, headers).unwrap().lifetime, *lifetime, "{headers:?}");
    }
}

#[test]
fn what_was_asked_for_with_a_cookie_is_not_guessed_to_be_fresh() {
    let with_cookie = |headers| stored(&[("cookie", "a=1")], 200, headers);
    assert_eq!(with_cookie(&[("Last-Modified", LONG_AGO)]), None);
    assert!(with_cookie(&[("Last-Modified", LONG_AGO), ("Cache-Control", "public")]).is_some());
    assert!(with_cookie(&[("Cache-Control", "max-age=60")]).is_some());
}

#[test]
fn section_4_2_3_the_age_is_the_larger_of_what_is_told_and_what_is_seen() {
    let table: &[(Fields<'_>, Duration)] = &[
        (&[], s(2)),
        (&[("Date", NOW)], s(2)),
        (&[("Date", HOUR_EARLIER)], s(3600)),
        (&[("Date", HOUR_LATER)], s(2)),
        (&[("Age", "10")], s(12)),
        (&[("Age", "10"), ("Date", HOUR_EARLIER)], s(3600)),
        (&[("Age", "7200"), ("Date", HOUR_EARLIER)], s(7202)),
        (&[("Age", "-1")], s(2)),
        (&[("Age", "10, 20")], s(12)),
        (&[("Age", "1.5")], s(2)),
    ];
    for (headers, age) in table {
        let headers = [&[("Cache-Control", "max-age=9999")], *headers].concat();
        let came = came();
        let came = Came { at: came.at + s(2), ..came };
        let terms = stored_by(&by_default(), &[], (200, &headers), came).unwrap();
        let told = terms.age(came.at).as_secs();
        assert_eq!(told, age.as_secs(), "{headers:?}");
        assert_eq!(terms.age(came.at + s(5)).as_secs(), told + 5);
    }
}

/// What becomes of requests at some ages of an answer.
fn uses(settings: &Settings, value: &str, request: Fields<'_>, ages: &[u64]) -> Vec<Use> {
    let headers = [("Cache-Control", value), ("ETag", "\"a\"")];
    let came = came();
    let terms = stored_by(settings, &[], (200, &headers), came).unwrap();
    let asked = RequestDirectives::of(&testing::get("/", request));
    ages.iter().map(|age| terms.for_request(&asked, came.at + s(*age), settings)).collect()
}

#[test]
fn sections_4_and_5_2_1_say_what_may_be_used() {
    use Use::{AfterValidation, AsTheClientWants, Fresh, Stale, WhileRevalidating};
    let table: &[(&str, &str, [Use; 4])] = &[
        // At an age of 1, 9, 11 and 50 seconds.
        ("max-age=10", "", [Fresh, Fresh, AfterValidation, AfterValidation]),
        ("max-age=10", "no-cache", [AsTheClientWants; 4]),
        ("max-age=10", "max-age=0", [AsTheClientWants; 4]),
        ("max-age=10", "max-age=5", [Fresh, AsTheClientWants, AsTheClientWants, AsTheClientWants]),
        ("max-age=10", "min-fresh=5", [Fresh, AsTheClientWants, AfterValidation, AfterValidation]),
        ("max-age=10", "max-stale=5", [Fresh, Fresh, Stale, AfterValidation]),
        ("max-age=10", "max-stale", [Fresh, Fresh, Stale, Stale]),
        (
            "max-age=10, must-revalidate",
            "max-stale",
            [Fresh, Fresh, AfterValidation, AfterValidation],
        ),
        (
            "max-age=10, proxy-revalidate",
            "max-stale",
            [Fresh, Fresh, AfterValidation, AfterValidation],
        ),
        ("s-maxage=10", "max-stale", [Fresh, Fresh, AfterValidation, AfterValidation]),
        ("no-cache", "max-stale", [AfterValidation; 4]),
        ("no-cache=\"X\", max-age=10", "", [Fresh, Fresh, AfterValidation, AfterValidation]),
        (
            "max-age=10, stale-while-revalidate=5",
            "",
            [Fresh, Fresh, WhileRevalidating, AfterValidation],
        ),
        (
            "s-maxage=10, stale-while-revalidate=5",
            "",
            [Fresh, Fresh, WhileRevalidating, AfterValidation],
        ),
        (
            "max-age=10, stale-while-revalidate=5, must-revalidate",
            "",
            [Fresh, Fresh, AfterValidation, AfterValidation],
        ),
        ("max-age=10, stale-while-revalidate=5", "no-cache", [AsTheClientWants; 4]),
    ];
    for (value, asked, expected) in table {
        let found = uses(&by_default(), value, &[("cache-control", asked)], &[1, 9, 11, 50]);
        assert_eq!(found, expected, "{value}: {asked}");
    }
}

#[test]
fn a_forced_time_stands_above_what_answers_say_but_not_above_privacy() {
    let forced = settings(CacheRules { ttl: Some(s(10)), ..CacheRules::default() });
    let lasts = |headers: Fields<'_>| {
        let came = came();
        let terms = stored_by(&forced, &[], (200, headers), came)?;
        let none = RequestDirectives::default();
        let is_fresh = |age| terms.for_request(&none, came.at + s(age), &forced) == Use::Fresh;
        Some((is_fresh(9), is_fresh(10)))
    };
    for value in ["max-age=0", "max-age=9999", "no-cache", "must-revalidate", "public"] {
        assert_eq!(lasts(&[("Cache-Control", value)]), Some((true, false)), "{value}");
    }
    assert_eq!(lasts(&[]), Some((true, false)));
    assert_eq!(lasts(&[("Age", "500")]), Some((true, false)));
    for value in ["private", "no-store"] {
        assert_eq!(lasts(&[("Cache-Control", value)]), None, "{value}");
    }
    assert_eq!(lasts(&[("Set-Cookie", "a=1")]), None);
    assert_eq!(stored_by(&forced, &[], (500, &[]), came()), None);
    assert_eq!(stored_by(&forced, &[("authorization", "x")], (200, &[]), came()), None);
    assert_eq!(uses(&forced, "public", &[("cache-control", "no-cache")], &[1]), [Use::Fresh]);
}

#[test]
fn rfc_5861_a_stale_answer_stands_in_for_an_error_within_its_time() {
    let by_site = settings(CacheRules { stale_if_error: Some(s(20)), ..CacheRules::default() });
    let table = [
        (&by_default(), "max-age=10", "", [false, false]),
        (&by_default(), "max-age=10, stale-if-error=20", "", [true, false]),
        (&by_default(), "max-age=10", "stale-if-error=20", [true, false]),
        (&by_default(), "max-age=10, stale-if-error=20, must-revalidate", "", [false, false]),
        (&by_site, "max-age=10", "", [true, false]),
        (&by_site, "max-age=10, stale-if-error=0", "", [false, false]),
        (&by_site, "max-age=10, proxy-revalidate", "", [false, false]),
        (&by_site, "s-maxage=10", "", [false, false]),
        (&by_site, "no-cache", "", [false, false]),
    ];
    for (settings, value, asked, expected) in table {
        let came = came();
        let headers = [("Cache-Control", value), ("ETag", "\"a\"")];
        let terms = stored_by(settings, &[], (200, &headers), came).unwrap();
        let asked = RequestDirectives::of(&testing::get("/", &[("cache-control", asked)]));
        let found = [25, 35].map(|age| terms.may_stand_in(&asked, came.at + s(age)));
        assert_eq!(found, expected, "{value}");
    }
}
