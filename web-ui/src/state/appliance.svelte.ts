/** The appliance and its sites as last heard of. */

import { api } from '../api/client';
import { toRequestError, type RequestError } from '../api/error';
import type { ApplianceStatus, SiteStatus } from '../api/types';

class ApplianceState {
  status = $state.raw<ApplianceStatus | null>(null);
  /** Why the last refresh failed; what is in `status` is older then. */
  error = $state.raw<RequestError | null>(null);

  get sites(): SiteStatus[] {
    return this.status?.sites ?? [];
  }

  site(name: string): SiteStatus | undefined {
    return this.sites.find((site) => site.name === name);
  }

  async refresh(): Promise<void> {
    try {
      this.status = await api.status();
      this.error = null;
    } catch (thrown) {
      this.error = toRequestError(thrown);
    }
  }

  /** Takes over what a `sites` event says. */
  replaceSites(sites: SiteStatus[]): void {
    if (this.status) this.status = { ...this.status, sites };
  }

  forget(): void {
    this.status = null;
    this.error = null;
  }
}

export const appliance = new ApplianceState();
