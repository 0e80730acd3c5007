/** Which requests a log shows, as the appliance finds them, also in files that were put aside. What is empty is not asked for. */
export interface WantedRequests {
  /** `404`, `5xx`, `400-499` */
  status: string;
  /** `*` is anything in it. */
  path: string;
  /** An address or a network. */
  address: string;
  request_id: string;
}

export const ANYTHING: WantedRequests = { status: '', path: '', address: '', request_id: '' };

const NAMES = ['status', 'path', 'address', 'request_id'] as const;

/** What the query of an address asks for. */
export function parseWanted(query: URLSearchParams): WantedRequests {
  const wanted = { ...ANYTHING };
  for (const name of NAMES) wanted[name] = query.get(name)?.trim() ?? '';
  return wanted;
}

/** As a query, of the page and of the API; empty for anything. */
export function formatWanted(wanted: WantedRequests): string {
  const query = new URLSearchParams();
  for (const name of NAMES) if (wanted[name].trim() !== '') query.set(name, wanted[name].trim());
  return query.toString();
}
