import { fireEvent, render, screen } from '@testing-library/svelte';
import { beforeEach, expect, it, vi } from 'vitest';

import { session } from '../state/session.svelte';
import Login from './Login.svelte';

async function submit(password: string): Promise<void> {
  render(Login);
  await fireEvent.input(screen.getByLabelText('Password'), { target: { value: password } });
  await fireEvent.click(screen.getByRole('button', { name: 'Log in' }));
}

beforeEach(() => {
  session.phase = 'anonymous';
});

it('shows why a login was refused and asks again', async () => {
  const body = '{"error":"User or password is wrong.","hint":""}';
  vi.stubGlobal('fetch', vi.fn().mockResolvedValue(new Response(body, { status: 401 })));
  await submit('wrong');
  expect((await screen.findByRole('alert')).textContent).toContain('User or password is wrong.');
  expect(screen.getByLabelText<HTMLInputElement>('Password').value).toBe('');
  expect(document.activeElement).toBe(screen.getByLabelText('Password'));
  expect(session.phase).toBe('anonymous');
});

it('begins a session with the right password', async () => {
  const body = '{"user":"admin","csrf_token":"t"}';
  vi.stubGlobal('fetch', vi.fn().mockResolvedValue(new Response(body)));
  await submit('right');
  await vi.waitFor(() => expect(session.phase).toBe('authenticated'));
  expect(session.user).toBe('admin');
});
