/** Configurations and variables of a make-believe site: checked by very few rules, and put on line as a release. */

const TOML = `# The club's site.
domains = ["blog.example.com"]
harakiri = "30s"

[env]
DJANGO_SETTINGS_MODULE = "club.settings"

[[route]]
path = "/admin"
allow = ["10.0.0.0/8"]
`;

/** What a site begins with. */
export function initialConfiguration(mode) {
  return mode === 'static' ? '' : TOML;
}

/** Settings of the top of the file, by name. */
function settings(text) {
  const lines = text
    .split('\n')
    .map((line, index) => ({ pair: /^([\w-]+) = (.+)$/.exec(line), line: index + 1 }));
  return new Map(
    lines.filter(({ pair }) => pair).map(({ pair, line }) => [pair[1], { value: pair[2], line }]),
  );
}

export function configuration(site, mayDeploy) {
  const { configuration: text } = site;
  const shown = [...settings(text)].map(([name, { value }]) => ({
    name,
    value: name.startsWith('DJANGO') && !mayDeploy ? null : value,
  }));
  return { release: site.status.release, text: mayDeploy ? text : null, settings: shown };
}

export function checkConfiguration(site, text) {
  const [old, next] = [settings(site.configuration), settings(text)];
  const check = { problems: [], changes: [], outcome: [], warnings: [] };
  const threads = next.get('threads');
  if (threads?.value === '0') {
    const hint = '1 to 1000 are allowed';
    check.problems.push({ line: threads.line, key: 'threads', message: '0 is too few', hint });
    return check;
  }
  for (const name of new Set([...old.keys(), ...next.keys()])) {
    const [before, after] = [old.get(name)?.value ?? null, next.get(name)?.value ?? null];
    const concern = name === 'domains' ? 'requests' : 'processes';
    if (before !== after) check.changes.push({ name, old: before, new: after, concern });
  }
  check.outcome.push('Flask application app:app, Python 3.11.7');
  check.outcome.push('Fresh processes (`processes = 2`) are started beside those that serve.');
  if (next.get('domains')?.value.includes('*')) {
    check.warnings.push(
      '*.example.com gets a certificate of the box’s own authority: no other orders such names',
    );
  }
  return check;
}

export function checkVariables(site, changes) {
  const check = { problems: [], changes: [], warnings: [], restarts: true };
  for (const [name, value] of Object.entries(changes)) {
    if (name.startsWith('ONEBOX_')) {
      check.problems.push({ name, message: 'is kept for onebox and its service manager: no site gets it' });
    } else {
      const becomes = value === null ? 'removed' : site.variables.has(name) ? 'changed' : 'added';
      check.changes.push({ name, becomes });
    }
  }
  return check;
}

export function changeVariables(site, changes) {
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) site.variables.delete(name);
    else site.variables.set(name, value);
  }
}

export function explain({ status }) {
  const isStatic = status.mode === 'static';
  return {
    mode: status.mode,
    reasons: isStatic
      ? ['It has files only, which need no Python.']
      : [
          '`processes = 2` needs a process of its own.',
          'Memory is limited by what is looked at ten times a second.',
        ],
    static_folders: isStatic
      ? [['/', '/srv/docs']]
      : [['/static', `/var/lib/onebox/sites/${status.name}/releases/${status.release}/static`]],
    upstreams: isStatic
      ? []
      : [{ path: '/api', name: null, servers: [{ address: 'http://127.0.0.1:3000' }] }],
    persistent: isStatic ? [] : [`/var/lib/onebox/sites/${status.name}/shared/db.sqlite3`],
  };
}

export function explainUrl(url) {
  if (!url.includes('blog')) {
    const steps = [`421: no site answers to ${url}`];
    return { site: null, route: null, other_routes: [], steps };
  }
  return {
    site: 'blog',
    route: 'path /admin',
    other_routes: ['regex ^/'],
    steps: [
      'only 10.0.0.0/8 may ask; others get 403',
      'header X-Frame-Options is set to DENY',
      'no file is looked for',
      'the application answers, in a process of its own, within 30s',
    ],
  };
}
