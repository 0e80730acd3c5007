//! A project that Django's own `startproject` made, deployed, and its admin in the hands of a client.

use std::fs;
use std::process::Command;

use crate::harness::{SiteFolder, TestBox, client_works, environment_of, run};

#[test]
fn a_new_project_goes_on_line_and_its_admin_works() {
    let python = environment_of("frameworks");
    let site = SiteFolder::fixture("library");
    let mut start = Command::new(python.join("bin/python"));
    start.args(["-m", "django", "startproject", "library"]).arg(site.path());
    run(start).ok();
    append(
        &site,
        "library/settings.py",
        "INSTALLED_APPS += ['shelf']\nMEDIA_ROOT, MEDIA_URL = BASE_DIR / 'media', 'media/'\n",
    );
    append(
        &site,
        "library/urls.py",
        "from django.urls import include\nurlpatterns.append(path('', include('shelf.urls')))\n",
    );
    let python = python.display();
    site.write(
        "onebox.toml",
        &format!(
            "python = \"{python}\"\n\n[env]\nDJANGO_SUPERUSER_PASSWORD = \"a secret & its Umläute\"\n\n\
             [hooks]\nrelease = [\n  \"python manage.py migrate --noinput --run-syncdb\",\n  \
             \"python manage.py createsuperuser --noinput --username ada --email ada@example.com\",\n]\n"
        ),
    );
    let appliance = TestBox::start();
    let deployed = appliance.deploy(site.path()).ok();
    assert!(deployed.stdout.contains("DEBUG = True: every error page"), "{}", deployed.stdout);
    assert_eq!(appliance.site("library")["mode"], "embedded");
    client_works("django_admin.py", appliance.http);
    // The admin wrote into the database and the media folder, which outlive a release.
    for kept in ["db.sqlite3", "media/covers/Größe_1.png"] {
        let kept = appliance.state().join("sites/library/shared").join(kept);
        assert!(kept.is_file(), "{}", kept.display());
    }
}

fn append(site: &SiteFolder, path: &str, text: &str) {
    let made = fs::read_to_string(site.path().join(path)).unwrap();
    site.write(path, &(made + text));
}
