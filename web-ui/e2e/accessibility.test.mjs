/** Every page of the dashboard, light and dark, narrow and wide, by axe-core's rules for WCAG 2.2 AA; and what a viewer is offered. */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';

import { collectComplaints, launchBrowser, logIn } from './browser.mjs';
import { PASSWORD, startMock } from './mock/server.mjs';

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

let mock;
let browser;

before(async () => {
  mock = await startMock({ pastSamples: 240 });
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  mock?.close();
});

async function open(options, url = mock.url) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  await page.goto(url);
  return page;
}

async function login(page) {
  await logIn(page, PASSWORD);
  await page.getByRole('heading', { name: 'Sites' }).waitFor();
}

/** Through the protocol of the browser's tools, which the page's policy does not concern. */
async function violations(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(
    (values) => globalThis.axe.run(document, { runOnly: { type: 'tag', values } }),
    RULES,
  );
  assert.ok(found.passes.length > 10, 'the rules were looked at');
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
}

const PAGES = [
  ['#/', (page) => page.getByTestId('row-rate').first().filter({ hasText: /\d/ })],
  ['#/sites/blog', (page) => page.locator('[data-testid=toml-field][data-ready=true]')],
  ['#/explain?url=http%3A%2F%2Fblog.localhost%2Fadmin', (page) => page.getByTestId('steps')],
  ['#/explain', (page) => page.getByLabel('What happens to a request for')],
  ['#/sites/intranet', (page) => page.getByText('crispy_forms').first()],
  ['#/sites/nothere', (page) => page.getByRole('heading', { name: 'Not found' })],
  ['#/requests/7m3k9q0x2v5c8b1n', (page) => page.getByTestId('exception').first()],
  ['#/box', (page) => page.locator('.uplot canvas').nth(6)],
  [
    '#/sites/blog?from=2026-11-20T10:00:00Z&to=2026-11-20T10:05:00Z',
    (page) => page.getByLabel('From', { exact: true }),
  ],
  ['#/box?from=2026-11-20T10:00:00Z&to=2026-11-20T10:05:00Z', (page) => page.locator('.uplot canvas').nth(6)],
  ['#/access', (page) => page.getByRole('button', { name: 'Show older entries' })],
];

for (const colorScheme of ['light', 'dark']) {
  for (const width of [360, 1440]) {
    test(`every page is accessible, ${colorScheme} and ${width} px wide`, async () => {
      const page = await open({ colorScheme, viewport: { width, height: 900 } });
      await page.getByLabel('Password').waitFor();
      assert.deepEqual(await violations(page), [], 'login');
      await login(page);
      for (const [hash, ready] of PAGES) {
        await page.goto(`${mock.url}${hash}`);
        await ready(page).waitFor();
        assert.deepEqual(await violations(page), [], hash);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${hash} is ${overflow} px too wide`);
      }
      await page.context().close();
    });
  }
}

test('no page scrolls sideways on the narrowest screen of WCAG 1.4.10', async () => {
  const page = await open({ viewport: { width: 320, height: 640 } });
  await login(page);
  for (const [hash, ready] of PAGES) {
    await page.goto(`${mock.url}${hash}`);
    await ready(page).waitFor();
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${hash} is ${overflow} px too wide`);
  }
  await page.goto(`${mock.url}#/sites/blog`);
  await page.getByTestId('routes').waitFor();
  const table = page.getByRole('region', { name: 'Slowest routes, a table' });
  assert.ok(await table.evaluate((box) => box.scrollWidth <= box.clientWidth), 'the routes scroll');
  await page.context().close();
});

test('a viewer is offered nothing that a viewer may not do', async () => {
  const viewers = await startMock({ role: 'viewer' });
  try {
    const page = await open({}, viewers.url);
    const complaints = collectComplaints(page);
    await login(page);
    await page.goto(`${viewers.url}#/sites/blog`);
    await page.getByTestId('log-line').last().waitFor();
    await page
      .getByText('being made')
      .or(page.getByText('live', { exact: true }))
      .first()
      .waitFor();
    await page.locator('[data-setting=harakiri]').waitFor();
    assert.match(await page.locator('[data-setting=DJANGO_SETTINGS_MODULE]').innerText(), /may be a secret/);
    for (const name of [
      /^Restart/,
      /^Stop/,
      /^Maintenance/,
      /^Set variable/,
      /^Roll back/,
      /^Remove/,
      /^Apply/,
    ]) {
      assert.equal(await page.getByRole('button', { name }).count(), 0, String(name));
    }
    await page.goto(`${viewers.url}#/access`);
    await page.getByRole('button', { name: 'Change password' }).waitFor();
    for (const title of ['Users', 'Tokens for programs', 'Who changed what']) {
      assert.equal(await page.getByRole('heading', { name: title }).count(), 0, title);
    }
    assert.deepEqual(complaints, []);
  } finally {
    viewers.close();
  }
});

test('of two hundred sites those that are seen are drawn, and all are found', async () => {
  const many = await startMock({ scenario: 'many' });
  try {
    const page = await open({ viewport: { width: 1440, height: 900 } }, many.url);
    const complaints = collectComplaints(page);
    await login(page);
    const rows = page.getByTestId('site-row');
    await rows.nth(199).waitFor({ state: 'attached' });
    // A sample moves every row each second; only those that are seen may cost anything.
    const drawn = await rows.evaluateAll(
      (all) => all.filter((row) => row.checkVisibility({ contentVisibilityAuto: true })).length,
    );
    assert.ok(drawn > 5 && drawn < 60, `${drawn} rows are drawn`);
    await page.getByLabel('Filter sites').fill('site-17');
    await rows.nth(10).waitFor({ state: 'detached' });
    assert.equal(await rows.count(), 10);
    await page.getByLabel('Filter sites').fill('nothing');
    await page.getByText('has “nothing” in it').waitFor();
    assert.deepEqual(complaints, []);
  } finally {
    many.close();
  }
});

test('the keyboard alone adds a user', async () => {
  const page = await open({});
  await login(page);
  await page.goto(`${mock.url}#/access`);
  await page.getByLabel('Name of the new user').focus();
  await page.keyboard.type('zoe');
  await page.keyboard.press('Tab');
  await page.keyboard.type('operator');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByTestId('secret').waitFor();
  assert.equal(await page.getByLabel('Role of zoe').inputValue(), 'operator');
  await page.context().close();
});
