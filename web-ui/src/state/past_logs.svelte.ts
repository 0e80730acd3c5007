/** What stands in the log of one site of a time that is over, in the shape of `SiteLogs`. */

import { api } from '../api/client';
import { toRequestError, type RequestError } from '../api/error';
import type { PastSpan } from '../charts/span';
import { MAX_LINES, appendLines, type NumberedLine } from '../logs/lines';
import type { WantedRequests } from '../logs/wanted';

export class PastLogs {
  /** The last ones of the span. */
  lines = $state.raw<NumberedLine[]>([]);
  loaded = $state(false);
  error = $state.raw<RequestError | null>(null);
  readonly connection = 'over';

  #site: string;
  #span: PastSpan;
  #wanted: WantedRequests;

  constructor(site: string, span: PastSpan, wanted: WantedRequests) {
    this.#site = site;
    this.#span = span;
    this.#wanted = wanted;
    void this.reload();
  }

  async reload(): Promise<void> {
    try {
      this.lines = appendLines([], await api.pastLogs(this.#site, this.#span, MAX_LINES, this.#wanted));
      this.loaded = true;
      this.error = null;
    } catch (thrown) {
      this.error = toRequestError(thrown);
    }
  }

  close(): void {}
}
