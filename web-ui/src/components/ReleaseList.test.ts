import { fireEvent, render, screen } from '@testing-library/svelte';
import { expect, it, vi } from 'vitest';

import type { Release, Scope, SiteStatus, TrafficFigures } from '../api/types';
import { session } from '../state/session.svelte';
import { SiteControl } from '../state/site_control.svelte';
import ReleaseList from './ReleaseList.svelte';

const site: SiteStatus = {
  name: 'blog',
  state: 'running',
  maintenance: false,
  problem: null,
  mode: 'embedded',
  release: 'r3',
  released_ms: 3,
  domains: [],
  catch_all: true,
  urls: [],
  kind: 'Flask',
  python: '3.11.7',
  workers: [],
  upstreams: [],
  certificates: [],
  cache: null,
};

function traffic(requests: number, errors: number): TrafficFigures {
  const responses = { none: 0, '1xx': 0, '2xx': requests - errors, '3xx': 0, '4xx': 0, '5xx': errors };
  const phases_ms = { tls: 0, accept: 0, queue: 0, app: 2, body: 0, send: 0 };
  const app = { p50: 2, p95: 31, p99: 40 };
  const phase_latency_ms = { tls: null, accept: null, queue: null, app, body: null, send: null };
  return {
    requests,
    errors,
    responses,
    bytes_in: 1,
    bytes_out: 1,
    p50_ms: 2,
    p95_ms: 31,
    p99_ms: 40,
    phases_ms,
    phase_latency_ms,
  };
}

const releases: Release[] = [
  { id: 'r4', created_ms: 4, live: false, state: 'failed', problem: 'SyntaxError', traffic: null },
  { id: 'r3', created_ms: 3, live: true, state: 'ready', problem: null, traffic: traffic(1200, 7) },
  { id: 'r2', created_ms: 2, live: false, state: 'ready', problem: null, traffic: traffic(1, 0) },
];

function renderList(scopes: Scope[] = ['read', 'operate']): SiteControl {
  session.scopes = scopes;
  vi.stubGlobal(
    'fetch',
    vi.fn(async () => new Response(JSON.stringify(releases))),
  );
  const control = new SiteControl('blog');
  render(ReleaseList, { site, control });
  return control;
}

it('offers a rollback only to releases that were once ready and are not live', async () => {
  renderList();
  const buttons = await screen.findAllByRole('button', { name: /^Roll back to/ });
  expect(buttons.map((button) => button.getAttribute('aria-label'))).toEqual(['Roll back to r2']);
  expect(screen.getByText('SyntaxError')).toBeTruthy();
});

it('says what each release answered, so that they can be compared', async () => {
  renderList();
  const told = await screen.findAllByTestId('traffic');
  expect(told.map((row) => row.textContent?.replace(/\s+/g, ' ').trim())).toEqual([
    '1,200 requests, p95 31.0 ms, 7 errors',
    '1 request, p95 31.0 ms, 0 errors',
  ]);
});

it('says how long each phase took that its requests had', async () => {
  renderList();
  const [table] = await screen.findAllByRole('table', { name: /^Phases of release r3/, hidden: true });
  const cells = [...(table?.querySelectorAll('tbody th, tbody td') ?? [])];
  const words = cells.map((cell) => cell.textContent?.replace(/\s/g, ' ').trim());
  expect(words).toEqual(['Application', '2.00 ms', '31.0 ms', '40.0 ms']);
});

it('offers none to who may only look', async () => {
  renderList(['read']);
  expect(await screen.findByText('SyntaxError')).toBeTruthy();
  expect(screen.queryByRole('button', { name: /^Roll back/ })).toBeNull();
});

it('rolls back only after the question was answered', async () => {
  const control = renderList();
  const rollback = vi.spyOn(control, 'rollback').mockResolvedValue();
  await fireEvent.click(await screen.findByRole('button', { name: 'Roll back to r2' }));
  expect(rollback).not.toHaveBeenCalled();
  expect(screen.getByRole('dialog').textContent).toContain('r2');
  await fireEvent.click(screen.getByRole('button', { name: 'Roll back' }));
  expect(rollback).toHaveBeenCalledWith('r2');
});
