/** The appliance and its sites as last heard of. */

import { api } from '../api/client';
import { toRequestError, type RequestError } from '../api/error';
import type { ApplianceStatus, SiteStatus } from '../api/types';

class ApplianceState {
  status = $state.raw<ApplianceStatus | null>(null);
  /** Why the last refresh failed; what is in `status` is older then. */
  error = $state.raw<RequestError | null>(null);

  #refreshing: Promise<void> | null = null;
  #again = false;

  get sites(): SiteStatus[] {
    return this.status?.sites ?? [];
  }

  site(name: string): SiteStatus | undefined {
    return this.sites.find((site) => site.name === name);
  }

  /** Asks for the status. While an answer is on its way, further calls lead to one more request after it. */
  refresh(): Promise<void> {
    this.#again = this.#refreshing !== null;
    this.#refreshing ??= this.#refreshAll().finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  forget(): void {
    this.status = null;
    this.error = null;
  }

  async #refreshAll(): Promise<void> {
    do {
      this.#again = false;
      try {
        this.status = await api.status();
        this.error = null;
      } catch (thrown) {
        this.error = toRequestError(thrown);
      }
    } while (this.#again);
  }
}

export const appliance = new ApplianceState();
