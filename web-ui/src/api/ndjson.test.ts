import { expect, it } from 'vitest';

import { readNdjson } from './ndjson';

function stream(...chunks: Uint8Array[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
}

async function collect(body: ReadableStream<Uint8Array>): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const value of readNdjson(body)) found.push(value);
  return found;
}

it('joins lines and characters that chunks cut apart', async () => {
  const bytes = new TextEncoder().encode('{"a":"é"}\n\n{"b":2}\n');
  const cut = [bytes.slice(0, 7), bytes.slice(7, 12), bytes.slice(12)];
  expect(await collect(stream(...cut))).toEqual([{ a: 'é' }, { b: 2 }]);
});

it('reads a last line without its end', async () => {
  expect(await collect(stream(new TextEncoder().encode('{"a":1}\n{"b":2}')))).toEqual([{ a: 1 }, { b: 2 }]);
});

it('fails on a line that is not JSON', async () => {
  await expect(collect(stream(new TextEncoder().encode('oops\n')))).rejects.toThrow();
});
