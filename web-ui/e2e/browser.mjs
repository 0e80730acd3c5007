/** A headless Chromium for tests: Debian's own, or the one that CHROMIUM names. */

import { chromium } from 'playwright-core';

export function launchBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** Logs in on the page that asks for it, as who is entered there. */
export async function logIn(page, password) {
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Log in' }).click();
}

/** Remembers everything the browser complains about: exceptions, blocked resources, policy violations. */
export function collectComplaints(page) {
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(error.stack));
  page.on('console', (message) => {
    // A refused login is a 401, and a request that nobody knows or a site that was just removed a 404; the browser reports them too.
    const { url } = message.location();
    const isExpected =
      message.text().includes('401') ||
      url.includes('/api/v1/requests/') ||
      url.includes('/api/v1/sites/dropped-site');
    if (message.type() === 'error' && !isExpected) complaints.push(message.text());
  });
  return complaints;
}
