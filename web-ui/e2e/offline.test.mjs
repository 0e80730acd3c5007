/** An appliance that goes away and comes back: the page says so, and goes on by itself from where it was. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launchBrowser, logIn } from './browser.mjs';
import { PASSWORD, startMock } from './mock/server.mjs';

let mock;
let browser;

before(async () => {
  mock = await startMock();
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  mock?.close();
});

test('what was missed is asked for when the connection is back, without a reload', async () => {
  const page = await browser.newPage();
  page.setDefaultTimeout(30_000);
  await page.goto(mock.url);
  await logIn(page, PASSWORD);
  await page.getByTestId('row-rate').first().filter({ hasText: /\d/ }).waitFor();
  await page.evaluate(() => (globalThis.isSamePage = true));
  assert.deepEqual(mock.appliance.heard, [null]);

  mock.appliance.setAway(true);
  await page.getByText('Connection lost').waitFor();
  mock.appliance.setAway(false);
  await page.getByText('Connection lost').waitFor({ state: 'detached' });
  await page.getByText('Live', { exact: true }).waitFor();
  const ids = mock.appliance.heard.slice(1);
  assert.ok(ids.length > 0 && ids.every((id) => /^1-\d+$/.test(id)), String(ids));
  assert.ok(await page.evaluate(() => globalThis.isSamePage));
});
