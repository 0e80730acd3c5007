import { fireEvent, render, screen } from '@testing-library/svelte';
import { expect, it, vi } from 'vitest';

import type { ErrorGroup } from '../api/types';
import ErrorList from './ErrorList.svelte';

const group: ErrorGroup = {
  fingerprint: 'f1',
  kind: 'exception',
  type: 'KeyError',
  message: "'name'",
  place: 'app.py:3 in view',
  release: 'r1',
  request_id: '0123456789abcdef',
  count: 1284,
  first_ms: 0,
  last_ms: 60_000,
};

function answer(...answers: Response[]) {
  const next = vi.fn(async () => answers.shift() ?? Response.error());
  vi.stubGlobal('fetch', next);
  return next;
}

it('leads from each traceback to its last request', async () => {
  answer(new Response(JSON.stringify([group])));
  render(ErrorList, { name: 'blog' });
  const link = await screen.findByRole('link', { name: /KeyError: 'name'/ });
  expect(link.getAttribute('href')).toBe('#/requests/0123456789abcdef');
  expect(screen.getByTestId('errors').textContent).toContain('1,284×');
  expect(screen.getByText('app.py:3 in view')).toBeTruthy();
});

it('says that there is no error', async () => {
  answer(new Response('[]'));
  render(ErrorList, { name: 'blog' });
  expect(await screen.findByText(/No request has failed/)).toBeTruthy();
});

it('says why it has no answer, and asks again', async () => {
  answer(new Response('{"error":"busy","hint":""}', { status: 503 }), new Response(JSON.stringify([group])));
  render(ErrorList, { name: 'blog' });
  await fireEvent.click(await screen.findByRole('button', { name: 'Try again' }));
  expect(await screen.findByRole('link', { name: /KeyError/ })).toBeTruthy();
});

it('finds a request by an id as it was copied', async () => {
  answer(new Response('[]'));
  render(ErrorList, { name: 'blog' });
  await fireEvent.input(screen.getByLabelText('Request id'), { target: { value: ' 0123456789ABCDEF\n' } });
  await fireEvent.submit(screen.getByRole('search'));
  expect(location.hash).toBe('#/requests/0123456789abcdef');
});
