import { beforeEach, describe, expect, it, vi } from 'vitest';

import { api, setCsrfToken, setUnauthorizedHandler } from './client';
import { RequestError } from './error';

function answer(status: number, body: string): void {
  vi.stubGlobal(
    'fetch',
    vi.fn(async () => new Response(body === '' ? null : body, { status })),
  );
}

function sentHeaders(): Record<string, string> {
  return vi.mocked(fetch).mock.calls[0]?.[1]?.headers as Record<string, string>;
}

beforeEach(() => {
  setCsrfToken('token-1');
  setUnauthorizedHandler(() => undefined);
});

describe('the CSRF token', () => {
  it('goes with every request that changes something', async () => {
    answer(200, '{}');
    await api.stop('blog');
    expect(fetch).toHaveBeenCalledWith(
      '/api/v1/sites/blog/stop',
      expect.objectContaining({ method: 'POST' }),
    );
    expect(sentHeaders()['X-CSRF-Token']).toBe('token-1');
  });

  it('does not go with requests that only read', async () => {
    answer(200, '[]');
    await api.releases('blog');
    expect(sentHeaders()).not.toHaveProperty('X-CSRF-Token');
  });
});

describe('an error', () => {
  it('carries what the appliance says and advises', async () => {
    answer(409, '{"error":"The site is being deployed.","hint":"Wait for it."}');
    await expect(api.stop('blog')).rejects.toMatchObject({
      status: 409,
      message: 'The site is being deployed.',
      hint: 'Wait for it.',
    });
  });

  it('has words even where the answer has none', async () => {
    answer(502, '<html>');
    await expect(api.status()).rejects.toThrow(/502/);
  });

  it('has status 0 when nothing answers', async () => {
    vi.stubGlobal('fetch', vi.fn().mockRejectedValue(new TypeError('network')));
    await expect(api.status()).rejects.toMatchObject({ status: 0 });
    await expect(api.status()).rejects.toBeInstanceOf(RequestError);
  });
});

describe('a 401', () => {
  it('ends the session', async () => {
    const ended = vi.fn();
    setUnauthorizedHandler(ended);
    answer(401, '{"error":"You are not logged in.","hint":""}');
    await expect(api.status()).rejects.toMatchObject({ status: 401 });
    expect(ended).toHaveBeenCalledOnce();
  });

  it('ends nothing when it answers a login', async () => {
    const ended = vi.fn();
    setUnauthorizedHandler(ended);
    answer(401, '{"error":"User or password is wrong.","hint":""}');
    await expect(api.login('admin', 'wrong')).rejects.toMatchObject({ status: 401 });
    expect(ended).not.toHaveBeenCalled();
  });
});

it('yields the events of a long operation', async () => {
  answer(200, '{"event":"step","step":"start","text":"Start"}\n{"event":"done","site":"blog"}\n');
  const events: string[] = [];
  for await (const { event } of api.rollback('blog', 'r1')) events.push(event);
  expect(events).toEqual(['step', 'done']);
  expect(vi.mocked(fetch).mock.calls[0]?.[1]?.body).toBe('{"release":"r1"}');
});
