import { render, screen } from '@testing-library/svelte';
import { expect, it } from 'vitest';

import type { CertificateStatus, SiteStatus } from '../api/types';
import { formatDateTime } from '../format/times';
import CertificateList from './CertificateList.svelte';

const NEXT_MS = Date.now() + 300_000;

const refused: CertificateStatus = {
  source: 'acme',
  names: ['a.example', 'www.a.example'],
  issuer: null,
  not_before_ms: null,
  not_after_ms: null,
  renews_ms: null,
  is_ordering: false,
  problem: 'a.example is not proven: connection refused',
  next_try_ms: NEXT_MS,
};

function site(name: string, certificates: CertificateStatus[]): SiteStatus {
  return {
    name,
    cache: null,
    state: 'running',
    maintenance: false,
    problem: null,
    mode: 'embedded',
    release: 'r1',
    released_ms: 1,
    domains: [],
    catch_all: true,
    urls: [],
    kind: 'Flask',
    python: '3.11.7',
    workers: [],
    upstreams: [],
    certificates,
  };
}

it('says what went wrong and when the next try is', () => {
  render(CertificateList, { sites: [site('blog', [refused])], listens: true });
  const row = screen.getByTestId('certificate').textContent;
  expect(row).toContain('a.example, www.a.example');
  expect(row).toContain('None yet');
  expect(row).toContain('connection refused');
  expect(row).toContain(formatDateTime(NEXT_MS));
  expect(screen.queryByRole('link')).toBeNull();
});

it('names the sites where there are several', () => {
  render(CertificateList, {
    sites: [site('blog', [refused]), site('shop', [refused])],
    listens: true,
    named: true,
  });
  expect(screen.getAllByRole('link').map((link) => link.textContent)).toEqual(['blog', 'shop']);
});

it('says where TLS is switched on', () => {
  render(CertificateList, { sites: [site('blog', [])], listens: false });
  expect(screen.getByText(/listen\.https/)).toBeTruthy();
  expect(screen.queryByTestId('certificate')).toBeNull();
});

it('says of a site that never was on line only that it has none yet', () => {
  render(CertificateList, { sites: [site('blog', [])], listens: true });
  expect(screen.getByText(/as soon as it is on line/)).toBeTruthy();
  expect(screen.queryByText(/not served with TLS/)).toBeNull();
});
