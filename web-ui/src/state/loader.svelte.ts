/** Something that is asked for and may be asked for again; only the last question's answer counts. */

import { toRequestError, type RequestError } from '../api/error';

export class Loader<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<RequestError | null>(null);
  #asked = 0;

  async load(ask: () => Promise<T>): Promise<void> {
    const asked = (this.#asked += 1);
    try {
      const value = await ask();
      if (asked === this.#asked) [this.value, this.error] = [value, null];
    } catch (thrown) {
      if (asked === this.#asked) this.error = toRequestError(thrown);
    }
  }
}
