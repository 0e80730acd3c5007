import { expect, it, vi } from 'vitest';

import { appliance } from './appliance.svelte';

it('asks once more, and only once, for all changes while an answer is on its way', async () => {
  let version = 0;
  const fetch = vi.fn(async () => {
    version += 1;
    return new Response(JSON.stringify({ version: `${version}`, sites: [] }));
  });
  vi.stubGlobal('fetch', fetch);
  await Promise.all([appliance.refresh(), appliance.refresh(), appliance.refresh()]);
  expect(fetch).toHaveBeenCalledTimes(2);
  expect(appliance.status?.version).toBe('2');
});

it('keeps what it knew when the appliance does not answer', async () => {
  vi.stubGlobal('fetch', vi.fn().mockRejectedValue(new TypeError('network')));
  await appliance.refresh();
  expect(appliance.error?.status).toBe(0);
  expect(appliance.status?.version).toBe('2');
  appliance.forget();
  expect(appliance.status).toBeNull();
});
