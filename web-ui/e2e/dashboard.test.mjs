/**
 * The dashboard in a real browser. Against an appliance with one deployed site:
 *
 *   ONEBOX_E2E_URL       where the dashboard answers
 *   ONEBOX_E2E_PASSWORD  the password
 *   ONEBOX_E2E_USER      the user; `admin` unless set
 *   ONEBOX_E2E_SITE      the site's name
 *
 * Without these it runs against the mock appliance.
 */

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { collectComplaints, launchBrowser, logIn } from './browser.mjs';
import { PASSWORD, USER, startMock } from './mock/server.mjs';

const WAIT = { timeout: 20_000 };

let mock;
let browser;
let page;
let complaints;
let target;

before(async () => {
  const { ONEBOX_E2E_URL, ONEBOX_E2E_PASSWORD, ONEBOX_E2E_USER = 'admin', ONEBOX_E2E_SITE } = process.env;
  if (ONEBOX_E2E_URL && ONEBOX_E2E_PASSWORD && ONEBOX_E2E_SITE) {
    target = {
      url: ONEBOX_E2E_URL,
      user: ONEBOX_E2E_USER,
      password: ONEBOX_E2E_PASSWORD,
      site: ONEBOX_E2E_SITE,
    };
  } else {
    mock = await startMock({ quiet: true });
    target = { url: mock.url, user: USER, password: PASSWORD, site: 'blog' };
  }
  browser = await launchBrowser();
  page = await browser.newPage();
  page.setDefaultTimeout(WAIT.timeout);
  complaints = collectComplaints(page);
});

after(async () => {
  await browser?.close();
  mock?.close();
});

/** One request to the site as a visitor makes it; `*.localhost` is this machine, whatever the resolver says. */
function visit(address) {
  const { hostname, port, host, pathname } = new URL(address);
  const connectTo = hostname.endsWith('localhost') ? '127.0.0.1' : hostname;
  return new Promise((resolve, reject) => {
    get({ host: connectTo, port: port || 80, path: pathname, headers: { Host: host } }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode));
    }).on('error', reject);
  });
}

async function login(password) {
  await page.getByLabel('User').fill(target.user);
  await logIn(page, password);
}

/** Names a part of the walk; what follows a part that failed would only fail too. */
async function step(name, body) {
  try {
    await body();
  } catch (error) {
    throw new Error(
      `${name}: ${error.message}\nThe page at ${page.url()} says:\n${await page.innerText('body')}`,
      {
        cause: error,
      },
    );
  }
}

test('an operator logs in, watches, reads the log, restarts and logs out', async () => {
  await step('a wrong password is refused with a reason', async () => {
    await page.goto(target.url);
    await login('not the password');
    const alert = page.getByRole('alert');
    await alert.waitFor();
    assert.match(await alert.innerText(), /\w/);
    assert.equal(await page.getByRole('heading', { name: 'Sites' }).count(), 0);
  });

  let address;
  await step('the site is running and has an address', async () => {
    await login(target.password);
    const row = page.locator(`[data-testid=site-row][data-site="${target.site}"]`);
    await row.getByText('Running', { exact: true }).waitFor();
    address = await row.getByTestId('site-address').getAttribute('href');
    assert.match(address, /^https?:\/\//);
    await page.getByRole('link', { name: target.site, exact: true }).click();
    await page.getByRole('heading', { name: target.site, level: 1 }).waitFor();
  });

  await step('requests move the live figure and the chart', async () => {
    const figure = page.getByTestId('requests-per-second');
    await figure.filter({ hasText: /^0$/ }).waitFor();
    const moved = figure.filter({ hasText: /[1-9]/ }).waitFor();
    let watching = true;
    const visits = (async () => {
      const statuses = [];
      while (watching) statuses.push(await visit(address));
      return statuses;
    })();
    await moved.finally(() => (watching = false));
    const statuses = await visits;
    assert.ok(statuses.length > 0);
    assert.deepEqual(
      statuses.filter((status) => status >= 500),
      [],
    );
    await page.locator('.uplot canvas').first().waitFor();
  });

  const charts = page.getByTestId('charts');
  const slider = (title) => page.getByRole('slider', { name: title, exact: true });

  await step('charts tell their values by keyboard', async () => {
    const requests = slider('Requests per second, by status');
    await requests.focus();
    await page.keyboard.press('Home');
    await page.waitForFunction(() => document.activeElement?.getAttribute('aria-valuenow') === '0');
    assert.match(await requests.getAttribute('aria-valuetext'), /^at \d\d:\d\d:\d\d: 2xx /);
    await page.keyboard.press('End');
    await page.keyboard.press('ArrowLeft');
    await page.waitForFunction(() => {
      const shown = document.activeElement;
      return (
        Number(shown?.getAttribute('aria-valuenow')) === Number(shown?.getAttribute('aria-valuemax')) - 1
      );
    });
  });

  await step('another span is a link, and its charts come', async () => {
    await page.getByRole('radio', { name: '5 min' }).focus();
    await page.keyboard.press('ArrowRight');
    await page.waitForURL(/#\/sites\/.*\?span=1h$/);
    await page.reload();
    await page.locator('[data-testid=charts][data-span="span=1h"]').waitFor();
    assert.equal(await page.getByRole('radio', { name: '1 h' }).isChecked(), true);
    await slider('Memory').waitFor();
    await charts.getByTestId('events').getByRole('listitem').first().waitFor();
  });

  await step('a time is chosen on a chart by keyboard, and is a link', async () => {
    await page.getByRole('radio', { name: '5 min' }).check({ force: true });
    await page.locator('[data-testid=charts][data-span="span=5m"]').waitFor();
    await slider('Requests per second, by status').focus();
    await page.keyboard.press('End');
    for (let back = 0; back < 100; back += 1) await page.keyboard.press('Shift+ArrowLeft');
    await page.keyboard.press('Enter');
    await page.waitForURL(/\?from=[-0-9T:.]+Z&to=[-0-9T:.]+Z$/);
    await page.reload();
    await page.locator('[data-testid=charts][data-span^="from="]').waitFor();
    await page.getByTestId('requests').getByRole('link').first().waitFor();
    await page.getByRole('region', { name: 'Log' }).waitFor();
    const requests = page.getByRole('region', { name: 'Requests', exact: true });
    await requests.getByLabel('Status', { exact: true }).selectOption('2xx');
    await page.getByTestId('requests').getByText('200', { exact: true }).first().waitFor();
  });

  await step('a time is chosen by clock, and one where nothing was is empty', async () => {
    await page.getByLabel('From', { exact: true }).fill('2001-02-03T04:05:06');
    await page.getByLabel('To', { exact: true }).fill('2001-02-03T04:05:06');
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await page.getByText('The second time must be after the first.').waitFor();
    await page.getByLabel('To', { exact: true }).fill('2001-02-03T04:15:06');
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await page.waitForURL(/\?from=2001-/);
    await page.getByText('No request was like this in this time.').waitFor();
    await page.getByText('Nothing was logged in this time.').waitFor();
    await page.goBack();
    await page.getByTestId('requests').getByRole('link').first().waitFor();
    await page.goBack();
    await page.locator('[data-testid=charts][data-span="span=5m"]').waitFor();
  });

  await step('a drag over a chart chooses what was dragged over', async () => {
    const plot = page.locator('.u-over').first();
    await plot.scrollIntoViewIfNeeded();
    const { x, y, width, height } = await plot.boundingBox();
    await page.mouse.move(x + width / 4, y + height / 2);
    await page.mouse.down();
    await page.mouse.move(x + width / 2, y + height / 2, { steps: 5 });
    await page.mouse.up();
    await page.waitForURL(/\?from=/);
    const query = new URLSearchParams(page.url().split('?')[1]);
    const [from, to] = [query.get('from'), query.get('to')].map((time) => Date.parse(time));
    assert.ok(to - from > 60_000 && to - from < 90_000, `${from} to ${to} are a quarter of five minutes`);
    await page.goBack();
    await page.locator('[data-testid=charts][data-span="span=5m"]').waitFor();
  });

  await step('the box shows the machine and its processes', async () => {
    await page.getByRole('link', { name: 'Box', exact: true }).click();
    await page.getByRole('heading', { name: 'Box', level: 1 }).waitFor();
    for (const title of ['CPU, of all cores', 'Memory', 'Disk with the state directory', 'Load of a minute'])
      await slider(title).waitFor();
    await page.locator('[data-process=engine]').waitFor();
    await page.locator('[data-process=supervisor]').waitFor();
    await page.goBack();
    await page.getByRole('heading', { name: target.site, level: 1 }).waitFor();
  });

  await step('the log shows lines and filters them', async () => {
    const lines = page.getByTestId('log-line');
    await lines.first().waitFor();
    await page.getByLabel('Filter log lines').fill('no line says this, surely');
    await page.getByText('No line matches the filter.').waitFor();
    await page.getByLabel('Filter log lines').fill('');
    await lines.first().waitFor();
  });

  await step('the appliance finds the lines of some requests, and the address says which', async () => {
    const before = page.url();
    const log = page.getByRole('region', { name: 'Log', exact: true });
    await log.getByText('Find requests', { exact: true }).click();
    await log.getByLabel('Path', { exact: true }).fill('/no-such-path/*');
    await log.getByRole('button', { name: 'Find', exact: true }).click();
    await page.waitForURL(/path=%2Fno-such-path%2F\*/);
    await log.getByText('No request was like this.').waitFor();
    await log.getByLabel('Path', { exact: true }).fill('/*');
    await log.getByLabel('Status', { exact: true }).fill('2xx');
    await page.keyboard.press('Enter');
    await page.waitForURL(/status=2xx&path=%2F\*$/);
    const found = log.getByTestId('log-line').filter({ hasText: /\d ms/ });
    await found.first().waitFor();
    await page.reload();
    await found.first().waitFor();
    await log.getByRole('button', { name: 'Show all lines' }).click();
    await page.waitForFunction(() => !location.hash.includes('path='));
    await page.goto(before);
    await page.getByTestId('log-line').first().waitFor();
  });

  await step('a request is looked for by the id of its error page', async () => {
    await page.getByLabel('Request id').fill(' NOSUCH0000000000 ');
    await page.keyboard.press('Enter');
    await page.waitForURL(/#\/requests\/nosuch0000000000$/);
    await page.getByRole('heading', { name: 'Request nosuch0000000000', level: 1 }).waitFor();
    assert.match(await page.getByRole('alert').innerText(), /nothing is known of a request nosuch/i);
    await page.goBack();
    await page.getByRole('heading', { name: target.site, level: 1 }).waitFor();
  });

  await step('the live release is listed', async () => {
    await page.locator('[data-release]').getByText('live', { exact: true }).waitFor();
  });

  await step('a restart ends well and the site runs again', async () => {
    await page.getByRole('button', { name: 'Restart' }).click();
    await page.locator('[data-testid=operation][data-phase=done]').waitFor({ timeout: 60_000 });
    await page.getByTestId('site-state').getByText('Running', { exact: true }).waitFor();
    assert.ok((await visit(address)) < 500);
  });

  await step('after a stop the site can be started', async () => {
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Stop site' }).click();
    await page.getByTestId('site-state').getByText('Stopped', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Start', exact: true }).click();
    await page.getByTestId('site-state').getByText('Running', { exact: true }).waitFor({ timeout: 60_000 });
  });

  await step('variables are checked, set and unset', async () => {
    const name = page.getByLabel('Name of the variable');
    const set = page.getByRole('button', { name: 'Set variable' });
    const environment = page.getByRole('region', { name: 'Environment' });
    const apply = environment.getByRole('button', { name: 'Apply', exact: true });
    await name.fill('ONEBOX_COLOUR');
    await set.click();
    await name.fill('COLOUR');
    await page.getByLabel('Value of the variable').fill('teal');
    await set.click();
    assert.ok(await apply.isDisabled());
    await environment.getByRole('button', { name: 'Check' }).click();
    await environment.getByRole('alert').getByText('is kept for onebox').waitFor();
    assert.ok(await apply.isDisabled());
    await environment.getByRole('button', { name: 'Take back ONEBOX_COLOUR' }).click();
    await environment.getByRole('button', { name: 'Check' }).click();
    await environment.getByText('COLOUR new. The site is restarted once').waitFor();
    await apply.click();
    const variable = page.locator('[data-variable=COLOUR]');
    await variable.waitFor({ timeout: 60_000 });
    assert.equal(await variable.getByText('teal').count(), 0);
    await page.getByRole('button', { name: 'Show values' }).click();
    await variable.getByText('COLOUR=teal').waitFor();
    await variable.getByRole('button', { name: 'Unset COLOUR' }).click();
    await environment.getByRole('button', { name: 'Check' }).click();
    await environment.getByText('COLOUR goes').waitFor();
    await apply.click();
    await variable.waitFor({ state: 'detached', timeout: 60_000 });
  });

  await step('a configuration is checked, mended and put on line as a release', async () => {
    const panel = page.getByRole('region', { name: 'Configuration' });
    const apply = panel.getByRole('button', { name: 'Apply', exact: true });
    const field = panel.getByRole('textbox', { name: `onebox.toml of ${target.site}` });
    const before = await page.locator('[data-release]').count();
    await field.click();
    await page.keyboard.press('Control+Home');
    await page.keyboard.type('threads = 0\n');
    await panel.getByRole('button', { name: 'Check' }).click();
    await panel.getByRole('alert').getByText('One problem').waitFor();
    assert.ok(await apply.isDisabled());
    await panel.getByRole('button', { name: 'Line 1', exact: true }).click();
    await page.keyboard.press('Shift+End');
    await page.keyboard.type('threads = 3');
    await panel.getByRole('button', { name: 'Check' }).click();
    await panel.getByText('It can be applied.').waitFor();
    assert.match(await panel.locator('[data-change=threads]').innerText(), /3/);
    await apply.click();
    await page.locator('[data-testid=operation][data-phase=done]').waitFor({ timeout: 60_000 });
    await page.locator('[data-release]').nth(before).waitFor();
    await panel.getByText('Nothing is changed before it was checked').waitFor();
    assert.match(await field.innerText(), /^threads = 3/);
  });

  await step('how the site runs, and what happens to a request, are told', async () => {
    await page.getByTestId('reasons').getByRole('listitem').first().waitFor();
    await page.getByRole('region', { name: 'How it runs' }).getByRole('button', { name: 'Explain' }).click();
    await page.waitForURL(/#\/explain\?url=/);
    await page.getByTestId('steps').getByRole('listitem').first().waitFor();
    await page.reload();
    await page.getByTestId('steps').getByRole('listitem').first().waitFor();
    await page.goBack();
    await page.getByRole('heading', { name: target.site, level: 1 }).waitFor();
  });

  await step('the slowest routes are listed with their phases', async () => {
    const table = page.getByTestId('routes');
    await table.getByRole('row').nth(1).waitFor();
    const first = table.getByRole('row').nth(1);
    assert.match(await first.getByRole('rowheader').innerText(), /^\/|^other$/);
    assert.match(await first.getByRole('img').getAttribute('aria-label'), /Application [\d.,]+\sm?s/);
  });

  await step('maintenance begins and ends', async () => {
    await page.getByRole('button', { name: 'Maintenance', exact: true }).click();
    await page.getByRole('button', { name: 'End maintenance' }).click({ timeout: 60_000 });
    await page.getByRole('button', { name: 'Maintenance', exact: true }).waitFor({ timeout: 60_000 });
  });

  await step('a user and a token are made, used up and written down', async () => {
    await page.getByRole('link', { name: 'Access' }).click();
    await page.getByRole('heading', { name: 'Access', level: 1 }).waitFor();
    await page.getByLabel('Name of the new user').fill('eve');
    await page.getByLabel('Role of the new user').selectOption('viewer');
    await page.getByRole('button', { name: 'Add user' }).click();
    assert.match(await page.getByTestId('secret').innerText(), /^[a-z0-9]{20}$/);
    await page.getByRole('button', { name: 'Done' }).click();
    await page.getByLabel('Role of eve').selectOption('operator');
    await page.getByText('change-role eve').first().waitFor();
    await page.getByLabel('Name of the new token').fill('robot');
    await page.getByRole('checkbox', { name: 'deploy' }).check();
    await page.getByRole('button', { name: 'Make a token' }).click();
    assert.match(await page.getByTestId('secret').innerText(), /^onebox_[0-9a-f]{64}$/);
    await page.getByRole('button', { name: 'Revoke robot' }).click();
    await page.getByRole('button', { name: 'Revoke token' }).click();
    await page.locator('[data-token=robot]').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Remove eve' }).click();
    await page.getByRole('button', { name: 'Remove user' }).click();
    await page.locator('[data-user=eve]').waitFor({ state: 'detached' });
    await page.getByText('create-token').first().waitFor();
  });

  await step('an address is denied after it was tried out, and the rule removed', async () => {
    await page.getByRole('link', { name: 'Box', exact: true }).click();
    await page.getByRole('button', { name: 'Who looks for holes?' }).click();
    await page.getByTestId('suggestions').waitFor();
    await page.getByLabel('Address or network', { exact: true }).fill('203.0.113.9');
    await page.getByLabel('Why there is the rule').fill('scans');
    await page.getByRole('button', { name: 'Deny…' }).click();
    assert.match(await page.getByTestId('trial').innerText(), /would have refused \d+ requests?/);
    await page.getByRole('button', { name: 'Deny', exact: true }).click();
    const rule = page.locator('[data-rule="203.0.113.9"]');
    assert.match(await rule.innerText(), /deny 203\.0\.113\.9\s+on all sites: scans/);
    await page.getByRole('button', { name: 'Remove deny 203.0.113.9' }).click();
    await page.getByRole('button', { name: 'Remove rule' }).click();
    await rule.waitFor({ state: 'detached' });
    await page.getByLabel('What becomes of it').selectOption('allow');
    await page.getByLabel('Address or network', { exact: true }).fill('203.0.113.9');
    await page.getByRole('button', { name: 'Let in…' }).click();
    await page.getByRole('button', { name: 'Let in', exact: true }).click();
    assert.match(await rule.innerText(), /allow 203\.0\.113\.9\s+on all sites/);
    await page.getByRole('button', { name: 'Remove allow 203.0.113.9' }).click();
    await page.getByRole('button', { name: 'Remove rule' }).click();
    await rule.waitFor({ state: 'detached' });
    const end = page.getByRole('button', { name: 'Stop the appliance' });
    assert.ok(await end.isDisabled());
    await page.getByRole('region', { name: 'Stop the appliance' }).getByRole('textbox').fill('shutdown');
    assert.ok(await end.isEnabled());
  });

  await step('a folder is put on line, and its site removed', async () => {
    const folder = join(await mkdtemp(join(tmpdir(), 'drop-')), 'dropped');
    await mkdir(join(folder, '.git'), { recursive: true });
    await writeFile(join(folder, 'index.html'), '<!doctype html><title>dropped</title>hello');
    await writeFile(join(folder, '.git', 'HEAD'), 'no part of the site');
    await page.goto(`${target.url.replace(/[/]$/, '')}/#/`);
    await page.getByTestId('folder-input').setInputFiles(folder);
    const dialog = page.getByRole('dialog');
    await dialog.getByText('1 file').waitFor();
    await dialog.getByLabel('Name of the site').fill('dropped-site');
    await dialog.getByLabel('Hosts, separated by commas').fill('dropped.example.com');
    await dialog.getByRole('button', { name: 'Deploy', exact: true }).click();
    await page.locator('[data-testid=operation][data-phase=done]').waitFor({ timeout: 60_000 });
    await page.getByRole('link', { name: 'dropped-site', exact: true }).click();
    await page.getByRole('heading', { name: 'dropped-site', level: 1 }).waitFor();
    const remove = page.getByRole('button', { name: 'Remove dropped-site' });
    assert.ok(await remove.isDisabled());
    await page.getByLabel('to be sure').fill('dropped-site');
    await remove.click();
    await page.getByRole('heading', { name: 'Sites', level: 1 }).waitFor({ timeout: 60_000 });
    assert.equal(await page.getByRole('link', { name: 'dropped-site', exact: true }).count(), 0);
    await rm(folder, { recursive: true });
  });

  await step('after the logout a reload asks for the password', async () => {
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.getByLabel('Password').waitFor();
    await page.reload();
    await page.getByLabel('Password').waitFor();
  });

  await step('the browser had nothing to complain about', () => {
    assert.deepEqual(complaints, []);
  });
});
