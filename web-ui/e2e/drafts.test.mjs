/** What was written and is not applied: leaving it by a link, the browser's buttons or the log-out asks first. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launchBrowser, logIn } from './browser.mjs';
import { PASSWORD, startMock } from './mock/server.mjs';

let mock;
let browser;
let page;

before(async () => {
  mock = await startMock();
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  mock?.close();
});

async function openSite() {
  page = await browser.newPage();
  page.setDefaultTimeout(30_000);
  await page.goto(mock.url);
  await logIn(page, PASSWORD);
  await page.getByRole('link', { name: 'blog', exact: true }).click();
  await page.locator('[data-testid=toml-field][data-ready=true]').waitFor();
}

const question = () => page.getByRole('dialog', { name: 'Leave without applying?' });
const draft = () => page.getByLabel('Value of the variable');

test('a draft of variables is kept until it is said that it may go', async () => {
  await openSite();
  await draft().fill('half a secret');
  await page.getByRole('link', { name: 'Box', exact: true }).click();
  await question().getByRole('button', { name: 'Cancel' }).click();
  await question().waitFor({ state: 'hidden' });
  assert.match(page.url(), /#\/sites\/blog/);
  assert.equal(await draft().inputValue(), 'half a secret');

  await page.goBack();
  await page.keyboard.press('Escape');
  await question().waitFor({ state: 'hidden' });
  assert.match(page.url(), /#\/sites\/blog/);

  await page.getByRole('button', { name: 'Log out' }).click();
  await question().getByRole('button', { name: 'Cancel' }).click();
  assert.equal(await draft().inputValue(), 'half a secret');

  await page.getByRole('link', { name: 'Box', exact: true }).click();
  await question().getByRole('button', { name: 'Leave' }).click();
  await page.getByRole('heading', { name: 'Box', level: 1 }).waitFor();
  assert.match(page.url(), /#\/box/);
  await page.close();
});

test('the browser asks before a page with a draft of a configuration is loaded anew, and not without one', async () => {
  await openSite();
  const panel = page.getByRole('region', { name: 'Configuration' });
  await panel.getByRole('textbox').click();
  await page.keyboard.type('# draft');
  await panel.getByRole('button', { name: 'Discard changes' }).waitFor();
  const asked = page.waitForEvent('dialog');
  // The page runs no script while the question is open.
  const reloading = page.evaluate(() => location.reload());
  const dialog = await asked;
  assert.equal(dialog.type(), 'beforeunload');
  await dialog.dismiss();
  await reloading;
  assert.match(await panel.getByRole('textbox').innerText(), /# draft/);

  await panel.getByRole('button', { name: 'Discard changes' }).click();
  await page.getByRole('link', { name: 'Sites', exact: true }).click();
  await page.getByRole('heading', { name: 'Sites', level: 1 }).waitFor();
  // Were there a question, nobody would answer it, and this would not end.
  await page.reload();
  await page.getByRole('heading', { name: 'Sites', level: 1 }).waitFor();
  await page.close();
});

test('a site that is removed takes its draft along', async () => {
  await openSite();
  await draft().fill('half a secret');
  await page.getByLabel('Type blog to be sure').fill('blog');
  await page.getByRole('button', { name: 'Remove blog' }).click();
  await page.getByRole('heading', { name: 'Sites', level: 1 }).waitFor();
  assert.equal(await question().isVisible(), false);
  await page.close();
});
