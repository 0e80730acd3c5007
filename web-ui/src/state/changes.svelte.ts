/** What an admin changes in a list: one change at a time, with what it made, once, or why it failed. */

import { toRequestError, type RequestError } from '../api/error';

export class Changes<Made> {
  /** What the last change made, until it is dismissed. */
  made = $state.raw<Made | null>(null);
  /** Why the last change failed. */
  error = $state.raw<RequestError | null>(null);

  #after: () => Promise<void>;

  /** `after` is called when a change was made, or may have been. */
  constructor(after: () => Promise<void>) {
    this.#after = after;
  }

  async act(change: () => Promise<Made | void>): Promise<void> {
    this.error = null;
    try {
      this.made = (await change()) ?? null;
    } catch (thrown) {
      this.error = toRequestError(thrown);
    }
    await this.#after();
  }

  dismiss(): void {
    this.made = null;
  }
}
