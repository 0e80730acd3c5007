import { expect, it } from 'vitest';

import type { DeployEvent } from '../api/types';
import { Operation } from './operation.svelte';

async function follow(...events: (DeployEvent | Error)[]): Promise<Operation> {
  async function* send() {
    for (const event of events) {
      if (event instanceof Error) throw event;
      yield event;
    }
  }
  const operation = new Operation('Restart of blog');
  await operation.follow(send());
  return operation;
}

const start: DeployEvent = { event: 'step', step: 'start', text: 'Start' };

it('collects steps until it is done', async () => {
  const done: DeployEvent = { event: 'done', site: 'blog', release: 'r1', urls: [], total_ms: 70 };
  const operation = await follow(start, { event: 'warning', text: 'DEBUG is on.' }, done);
  expect(operation.phase).toBe('done');
  expect(operation.steps).toEqual([{ step: 'start', text: 'Start' }]);
  expect(operation.warnings).toEqual(['DEBUG is on.']);
  expect(operation.totalMs).toBe(70);
});

it('keeps the reason, the detail and the hint of a failure', async () => {
  const operation = await follow(start, {
    event: 'failed',
    step: 'health',
    reason: 'GET / answered 500.',
    detail: 'Traceback',
    hint: 'Look at the log.',
  });
  expect(operation.phase).toBe('failed');
  expect(operation.failure).toEqual({
    reason: 'GET / answered 500.',
    detail: 'Traceback',
    hint: 'Look at the log.',
  });
});

it('has failed when the connection ends too early', async () => {
  expect((await follow(start)).failure?.reason).toMatch(/connection ended/);
  expect((await follow(start, new Error('reset'))).failure?.reason).toBe('reset');
});
