import { render, screen } from '@testing-library/svelte';
import { expect, it, vi } from 'vitest';

import type { Autopsy, FailureReport } from '../api/types';
import RequestPage from './RequestPage.svelte';

const ID = '0123456789abcdef';

const failure: FailureReport = {
  at_ms: 1,
  kind: 'exception',
  site: 'blog',
  release: 'r1',
  worker: 'blog.1',
  request_id: ID,
  method: 'GET',
  path: '/a',
  age_ms: 12,
  fingerprint: 'f',
  place: 'app.py:3 in view',
  raised: [
    { type: 'KeyError', message: "'x'", after: null, frames: [] },
    {
      type: 'LookupError',
      message: '<b>none</b>',
      after: 'cause',
      frames: [{ file: 'app.py', line: 3, function: 'view', source: 'raise LookupError()' }],
    },
  ],
  printed: 'printed line\n',
};

function show(autopsy: Partial<Autopsy>) {
  const whole: Autopsy = { request_id: ID, request: null, failures: [], advice: null, log: [], ...autopsy };
  vi.stubGlobal(
    'fetch',
    vi.fn(async () => new Response(JSON.stringify(whole))),
  );
  render(RequestPage, { id: ID });
}

it('shows a chain of exceptions in its order, and their texts as texts', async () => {
  show({ failures: [failure] });
  const shown = (await screen.findAllByTestId('exception')).map((one) => one.textContent);
  expect(shown[0]).toContain("KeyError: 'x'");
  expect(shown[1]).toContain('LookupError: <b>none</b>');
  expect(shown[1]).toContain('raise LookupError()');
  expect(screen.getByText('It was the cause of this:')).toBeTruthy();
  expect(screen.getByText('printed line')).toBeTruthy();
  expect(screen.getByRole('link', { name: 'blog' }).getAttribute('href')).toBe('#/sites/blog');
});

it('says what to do about it where that is known', async () => {
  show({ failures: [failure], advice: 'Name it in `persist`.' });
  expect((await screen.findByText('persist')).tagName).toBe('CODE');
});

it('says where the time of a request went, and leaves out the phases it did not have', async () => {
  show({
    request: {
      request_id: ID,
      at_ms: 1,
      site: 'blog',
      release: 'r1',
      method: 'POST',
      path: '/b',
      status: 200,
      served_by: 'app',
      error: null,
      bytes_in: 1,
      bytes_out: 2,
      tls_us: null,
      accept_us: 100,
      queue_us: null,
      app_us: 1_500_000,
      body_us: null,
      send_us: null,
      total_us: 1_500_100,
      client: null,
      user_agent: null,
      worker: 'blog.1',
    },
  });
  expect(await screen.findByRole('heading', { name: 'POST /b' })).toBeTruthy();
  expect(screen.getAllByRole('term').map((term) => term.textContent)).toEqual([
    'Site',
    'Release',
    'Worker',
    'When',
    'Client',
    'Accept',
    'Application',
    'Total',
  ]);
});

it('says so where nothing is known', async () => {
  vi.stubGlobal(
    'fetch',
    vi.fn(async () => new Response('{"error":"nothing is known of it","hint":"look"}', { status: 404 })),
  );
  render(RequestPage, { id: ID });
  expect((await screen.findByRole('alert')).textContent).toContain('nothing is known of it');
});
