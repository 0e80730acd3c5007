/** `node e2e/screenshots.mjs DIR [WIDTH…]`: every page and state, light and dark, narrow to wide, as PNG files. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { collectComplaints, launchBrowser, logIn } from './browser.mjs';
import { PASSWORD, startMock } from './mock/server.mjs';

const [folder = 'screenshots', ...wanted] = process.argv.slice(2);
const widths = wanted.length > 0 ? wanted.map(Number) : [360, 768, 1440, 3840];
await mkdir(folder, { recursive: true });
const browser = await launchBrowser();
const full = await startMock({ pastSamples: 240 });
const empty = await startMock({ scenario: 'empty' });
const many = await startMock({ scenario: 'many' });

async function login(page, url) {
  await page.goto(url);
  await logIn(page, PASSWORD);
  await page.getByRole('heading', { name: 'Sites' }).waitFor();
  await page.getByText('Live', { exact: true }).waitFor();
}

for (const colorScheme of ['light', 'dark']) {
  for (const width of widths) {
    const context = await browser.newContext({ colorScheme, viewport: { width, height: 900 } });
    const page = await context.newPage();
    const complaints = collectComplaints(page);
    const shoot = async (name, fullPage = true) => {
      await page.screenshot({ path: join(folder, `${name}-${colorScheme}-${width}.png`), fullPage });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (overflow > 0) process.stdout.write(`${name} at ${width}: ${overflow} px too wide\n`);
    };

    await page.goto(full.url);
    await page.getByLabel('Password').fill('wrong');
    await shoot('login');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('alert').waitFor();
    await shoot('login-error');

    await login(page, full.url);
    await page.getByTestId('row-rate').first().filter({ hasText: /\d/ }).waitFor();
    await shoot('overview');

    await page.goto(`${full.url}#/sites/blog`);
    await page.getByTestId('log-line').last().waitFor();
    await page.getByTestId('requests-per-second').filter({ hasText: /\d/ }).waitFor();
    await page.locator('.uplot canvas').nth(4).waitFor();
    await shoot('site');
    for (const span of ['24h', '30d']) {
      await page
        .getByRole('radio', { name: span.replace(/(\d+)/, '$1 '), exact: true })
        .check({ force: true });
      await page.locator(`[data-testid=charts][data-span="span=${span}"]`).waitFor();
      await page.locator('.uplot canvas').nth(4).waitFor();
      await shoot(`site-${span}`);
    }
    const past = `from=${new Date(Date.now() - 200_000).toISOString()}&to=${new Date(Date.now() - 50_000).toISOString()}`;
    for (const [name, path] of Object.entries({ site: 'sites/blog', box: 'box' })) {
      await page.goto(`${full.url}#/${path}?${past}`);
      await page.getByTestId('log-line').last().waitFor();
      await page.locator('.uplot canvas').nth(4).waitFor();
      await shoot(`${name}-past`);
    }
    for (const id of ['7m3k9q0x2v5c8b1n', '0c4d8f2h6k1m5p9r']) {
      await page.goto(`${full.url}#/requests/${id}`);
      await page.getByTestId('exception').first().waitFor();
      await shoot(`request-${id}`);
    }
    for (const [name, url] of Object.entries({
      explain: 'http://blog.localhost/admin',
      'explain-nobody': 'x',
    })) {
      await page.goto(`${full.url}#/explain?url=${encodeURIComponent(url)}`);
      await page.getByTestId('steps').waitFor();
      await shoot(name);
    }
    await page.goto(`${full.url}#/sites/blog`);
    const panel = page.getByRole('region', { name: 'Configuration' });
    const field = panel.getByRole('textbox');
    for (const [name, line] of Object.entries({ wrong: 'threads = 0', right: 'queue-size = 300' })) {
      await field.click();
      await page.keyboard.press('Control+Home');
      await page.keyboard.type(`${line}\n`);
      await panel.getByRole('button', { name: 'Check' }).click();
      await panel.getByTestId('checked').waitFor();
      await panel.screenshot({ path: join(folder, `configuration-${name}-${colorScheme}-${width}.png`) });
      await panel.getByRole('button', { name: 'Discard changes' }).click();
    }
    await page.getByLabel('Name of the variable').fill('COLOUR');
    await page.getByRole('button', { name: 'Set variable' }).click();
    const environment = page.getByRole('region', { name: 'Environment' });
    await environment.getByRole('button', { name: 'Check' }).click();
    await page.getByTestId('checked-variables').waitFor();
    await environment.screenshot({ path: join(folder, `variables-${colorScheme}-${width}.png`) });
    await page.getByRole('link', { name: 'Box', exact: true }).click();
    await page.getByRole('dialog').waitFor();
    await shoot('leave', false);
    await page.getByRole('dialog').getByRole('button', { name: 'Leave' }).click();
    await page.goto(`${full.url}#/requests/nothing`);
    await page.getByRole('alert').waitFor();
    await shoot('request-unknown');
    await page.goto(`${full.url}#/access`);
    await page.getByRole('button', { name: 'Revoke ci' }).waitFor();
    await page.getByRole('button', { name: 'Show older entries' }).waitFor();
    await shoot('access');
    await page.goto(`${full.url}#/box`);
    await page.locator('.uplot canvas').nth(6).waitFor();
    await shoot('box');
    await page.route('**/api/v1/series*', (route) =>
      route.fulfill({ status: 503, json: { error: "metrics.db can't be used now", hint: '' } }),
    );
    await page.getByRole('radio', { name: '7 d', exact: true }).check({ force: true });
    await page.getByRole('alert').waitFor();
    await shoot('box-error');
    await page.unrouteAll();
    await page.goto(`${full.url}#/sites/blog`);
    await page.getByTestId('log-line').last().waitFor();
    await page.getByLabel('Filter log lines').fill('newsletter');
    await page
      .getByRole('button', { name: /^Roll back/ })
      .first()
      .click();
    await page.getByRole('dialog').waitFor();
    await shoot('site-rollback', false);
    await page.getByRole('dialog').getByRole('button', { name: 'Roll back' }).click();
    await page.locator('[data-phase=done]').waitFor();
    await shoot('site-done');

    await page.goto(`${full.url}#/sites/intranet`);
    await page.getByRole('button', { name: 'Restart' }).click();
    await page.locator('[data-phase=failed]').waitFor();
    await shoot('site-failed');
    await page.goto(`${full.url}#/sites/nothere`);
    await page.getByRole('heading', { name: 'Not found' }).waitFor();
    await shoot('not-found');

    await page.goto(`${full.url}#/`);
    await page.getByTestId('row-rate').first().waitFor();
    if (complaints.length > 0) process.stdout.write(`the browser says: ${complaints.join('\n')}\n`);
    await page.route('**/api/v1/events', (route) => route.abort());
    await page.evaluate(() => location.reload());
    await page.getByText('Connection lost').waitFor();
    await shoot('offline');
    await page.route('**/api/v1/**', (route) => route.abort());
    await page.evaluate(() => location.reload());
    await page.getByRole('heading', { name: 'onebox does not answer' }).waitFor();
    await shoot('unreachable');
    await page.unrouteAll();

    await login(page, empty.url);
    await page.getByText('No site yet').waitFor();
    await shoot('empty');
    await login(page, many.url);
    await page.getByTestId('site-row').nth(199).waitFor({ state: 'attached' });
    await shoot('many', false);
    await context.close();
  }
}

await browser.close();
full.close();
empty.close();
many.close();
