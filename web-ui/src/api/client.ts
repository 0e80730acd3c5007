/** The admin API as functions. Knows paths, the CSRF header and how errors look; keeps no data of the appliance. */

import { RequestError } from './error';
import { readNdjson } from './ndjson';
import type {
  AddedAddressRule,
  AddressRule,
  ApiError,
  ApplianceStatus,
  AuditEntry,
  Autopsy,
  BoxSeries,
  ConfigurationCheck,
  CreatedToken,
  DeployEvent,
  EnvVariable,
  ErrorGroup,
  Explanation,
  LogLine,
  NewAddressRule,
  NewConfiguration,
  NewPassword,
  NewToken,
  PastEvent,
  Purge,
  Release,
  RequestRecord,
  RequestSearch,
  Role,
  RouteReport,
  RuleSuggestions,
  RuleTrial,
  Session,
  SiteConfiguration,
  SiteSeries,
  Token,
  UrlExplanation,
  User,
  VariableChanges,
  VariablesCheck,
} from './types';
import { spanQuery, type PastSpan, type Span } from '../charts/span';
import { formatWanted, type WantedRequests } from '../logs/wanted';

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

const BASE = '/api/v1';

let csrfToken = '';
let onUnauthorized: () => void = () => undefined;

/** Sets what goes into `X-CSRF-Token` of every request that changes something. */
export function setCsrfToken(token: string): void {
  csrfToken = token;
}

/** Sets what happens when an answer says that the session is over (401). */
export function setUnauthorizedHandler(handler: () => void): void {
  onUnauthorized = handler;
}

/** Makes the path of a site's resource: `sitePath('blog', 'logs')` is `/api/v1/sites/blog/logs`. */
export function sitePath(site: string, resource: string): string {
  return `${BASE}/sites/${encodeURIComponent(site)}/${resource}`;
}

/** The stream of samples and changed sites. */
export const EVENTS_PATH = `${BASE}/events`;

/** The stream of new log lines of a site. */
export function followLogsPath(site: string, wanted: WantedRequests): string {
  return logsPath(site, 'follow=true&lines=0', wanted);
}

function logsPath(site: string, query: string, wanted: WantedRequests): string {
  return `${sitePath(site, 'logs')}?${[query, formatWanted(wanted)].filter(Boolean).join('&')}`;
}

async function toError(response: Response): Promise<RequestError> {
  const body = (await response.json().catch(() => null)) as ApiError | null;
  const message = body?.error || `The appliance answered ${response.status} ${response.statusText}`.trim();
  return new RequestError(response.status, message, body?.hint ?? '');
}

async function request(method: Method, path: string, body?: unknown): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (method !== 'GET' && csrfToken !== '') headers['X-CSRF-Token'] = csrfToken;
  if (body !== undefined) headers['Content-Type'] = body instanceof Blob ? body.type : 'application/json';
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      credentials: 'same-origin',
      cache: 'no-store',
      ...(body === undefined ? {} : { body: body instanceof Blob ? body : JSON.stringify(body) }),
    });
  } catch {
    throw new RequestError(0, 'The appliance cannot be reached.', 'Check that it runs: onebox status');
  }
  if (!response.ok) throw await toError(response);
  return response;
}

/** Like [`request`], for everything that needs a session: a 401 ends it. */
async function authorized(method: Method, path: string, body?: unknown): Promise<Response> {
  try {
    return await request(method, path, body);
  } catch (error) {
    if (error instanceof RequestError && error.status === 401) onUnauthorized();
    throw error;
  }
}

async function getJson<T>(path: string): Promise<T> {
  return (await (await authorized('GET', path)).json()) as T;
}

async function sendJson<T>(method: Method, path: string, body: unknown): Promise<T> {
  return (await (await authorized(method, path, body)).json()) as T;
}

function named(kind: 'users' | 'tokens', name: string): string {
  return `${BASE}/${kind}/${encodeURIComponent(name)}`;
}

async function* operation(path: string, body?: unknown): AsyncGenerator<DeployEvent> {
  const response = await authorized('POST', path, body);
  if (response.body) yield* readNdjson<DeployEvent>(response.body);
}

export const api = {
  login: async (user: string, password: string): Promise<Session> =>
    (await (await request('POST', `${BASE}/login`, { user, password })).json()) as Session,
  logout: async (): Promise<void> => void (await authorized('POST', `${BASE}/logout`)),
  session: async (): Promise<Session> => (await (await request('GET', `${BASE}/session`)).json()) as Session,
  status: (): Promise<ApplianceStatus> => getJson(`${BASE}/status`),
  releases: (site: string): Promise<Release[]> => getJson(sitePath(site, 'releases')),
  logs: (site: string, lines: number, wanted: WantedRequests): Promise<LogLine[]> =>
    getJson(logsPath(site, `lines=${lines}`, wanted)),
  /** The last lines of a span that is over. */
  pastLogs: (site: string, span: PastSpan, lines: number, wanted: WantedRequests): Promise<LogLine[]> =>
    getJson(logsPath(site, `lines=${lines}&from_ms=${span.fromMs}&to_ms=${span.toMs}`, wanted)),
  /** What its requests fail with, the last seen first. */
  errors: (site: string): Promise<ErrorGroup[]> => getJson(sitePath(site, 'errors')),
  /** Everything that is known of one request. */
  autopsy: (id: string): Promise<Autopsy> => getJson(`${BASE}/requests/${encodeURIComponent(id)}`),
  /** What a site did. */
  siteSeries: (site: string, span: Span): Promise<SiteSeries> =>
    getJson(`${sitePath(site, 'series')}?${new URLSearchParams(spanQuery(span))}`),
  /** Where its time went. */
  routes: (site: string, span: Span): Promise<RouteReport> =>
    getJson(`${sitePath(site, 'routes')}?${new URLSearchParams(spanQuery(span))}`),
  /** What the machine did. */
  boxSeries: (span: Span): Promise<BoxSeries> =>
    getJson(`${BASE}/series?${new URLSearchParams(spanQuery(span))}`),
  /** Requests one by one, the last first. */
  requests: (search: RequestSearch): Promise<RequestRecord[]> => {
    const asked = Object.entries(search).filter(([, value]) => value !== '' && value !== null);
    return getJson(
      `${BASE}/requests?${new URLSearchParams(asked.map(([name, value]) => [name, `${value}`]))}`,
    );
  },
  /** What happened in a span, to one site and to the whole box, or to all. */
  pastEvents: (fromMs: number, toMs: number, site: string | null): Promise<PastEvent[]> => {
    const query = new URLSearchParams({ from_ms: `${fromMs}`, to_ms: `${toMs}` });
    if (site !== null) query.set('site', site);
    return getJson(`${BASE}/events/past?${query}`);
  },
  stop: async (site: string): Promise<void> => void (await authorized('POST', sitePath(site, 'stop'))),
  start: async (site: string): Promise<void> => void (await authorized('POST', sitePath(site, 'start'))),
  /** Whether everybody gets the maintenance page. */
  setMaintenance: async (site: string, on: boolean): Promise<void> =>
    void (await authorized(on ? 'POST' : 'DELETE', sitePath(site, 'maintenance'))),
  /** Takes stored answers out, and tells how many there were. */
  purge: async (site: string, what: Purge): Promise<number> =>
    (await sendJson<{ answers: number }>('POST', sitePath(site, 'purge'), what)).answers,
  /** Orders a certificate now, and tells for which hosts. */
  renewCertificate: async (site: string): Promise<string[]> =>
    (await sendJson<{ hosts: string[] }>('POST', sitePath(site, 'certificate/renew'), undefined)).hosts,
  remove: async (site: string): Promise<void> =>
    void (await authorized('DELETE', `${BASE}/sites/${encodeURIComponent(site)}`)),
  variables: (site: string): Promise<EnvVariable[]> => getJson(sitePath(site, 'env')),
  /** What changes of variables would do. */
  checkVariables: (site: string, changes: VariableChanges): Promise<VariablesCheck> =>
    sendJson('POST', sitePath(site, 'env/check'), changes),
  changeVariables: async (site: string, changes: VariableChanges): Promise<void> =>
    void (await authorized('PATCH', sitePath(site, 'env'), changes)),
  configuration: (site: string): Promise<SiteConfiguration> => getJson(sitePath(site, 'configuration')),
  /** What would become of a configuration that was made from that of `release`. */
  checkConfiguration: (site: string, release: string, text: string): Promise<ConfigurationCheck> =>
    sendJson('POST', sitePath(site, 'configuration/check'), { release, text } satisfies NewConfiguration),
  /** Puts a release of the same files with it on line. */
  applyConfiguration: (site: string, release: string, text: string): AsyncGenerator<DeployEvent> =>
    operation(sitePath(site, 'configuration'), { release, text } satisfies NewConfiguration),
  /** How a site runs, and why. */
  explain: (site: string): Promise<Explanation> => getJson(sitePath(site, 'explain')),
  /** What happens to a request. */
  explainUrl: (url: string): Promise<UrlExplanation> =>
    getJson(`${BASE}/explain?${new URLSearchParams({ url })}`),
  restart: (site: string): AsyncGenerator<DeployEvent> => operation(sitePath(site, 'restart')),
  /** Puts an archive on line, as a site of this name, for these hosts; none: those that its files name. */
  deploy: (site: string, domains: string, archive: Blob): AsyncGenerator<DeployEvent> => {
    const query = new URLSearchParams({ name: site });
    if (domains !== '') query.set('domains', domains);
    return operation(`${BASE}/deploy?${query}`, archive);
  },
  /** Ends the appliance. */
  shutdown: async (): Promise<void> => void (await authorized('POST', `${BASE}/shutdown`)),
  rollback: (site: string, release: string): AsyncGenerator<DeployEvent> =>
    operation(sitePath(site, 'rollback'), { release }),
  changeOwnPassword: async (current: string, next: string): Promise<void> =>
    void (await authorized('POST', `${BASE}/session/password`, { current, new: next })),
  users: (): Promise<User[]> => getJson(`${BASE}/users`),
  addUser: (name: string, role: Role): Promise<NewPassword> =>
    sendJson('POST', `${BASE}/users`, { name, role }),
  changeRole: async (user: string, role: Role): Promise<void> =>
    void (await authorized('PATCH', named('users', user), { role })),
  resetPassword: (user: string): Promise<NewPassword> =>
    sendJson('POST', `${named('users', user)}/password`, {}),
  removeUser: async (user: string): Promise<void> => void (await authorized('DELETE', named('users', user))),
  tokens: (): Promise<Token[]> => getJson(`${BASE}/tokens`),
  createToken: (token: NewToken): Promise<CreatedToken> => sendJson('POST', `${BASE}/tokens`, token),
  revokeToken: async (name: string): Promise<void> =>
    void (await authorized('DELETE', named('tokens', name))),
  addressRules: (): Promise<AddressRule[]> => getJson(`${BASE}/address-rules`),
  addAddressRule: (rule: NewAddressRule): Promise<AddedAddressRule> =>
    sendJson('POST', `${BASE}/address-rules`, rule),
  removeAddressRule: async (id: number): Promise<void> =>
    void (await authorized('DELETE', `${BASE}/address-rules/${id}`)),
  /** What a rule would have done within the last hour. */
  tryAddressRule: (rule: Pick<NewAddressRule, 'action' | 'network' | 'site'>): Promise<RuleTrial> => {
    const query = new URLSearchParams({ action: rule.action, network: rule.network });
    if (rule.site) query.set('site', rule.site);
    return getJson(`${BASE}/address-rules/trial?${query}`);
  },
  /** Who looked for holes within the last hour. */
  suggestAddressRules: (): Promise<RuleSuggestions> => getJson(`${BASE}/address-rules/suggestions`),
  /** Who asked for which change, the newest first; `beforeId` asks for older ones. */
  audit: (beforeId: number | null): Promise<AuditEntry[]> =>
    getJson(`${BASE}/audit${beforeId === null ? '' : `?before_id=${beforeId}`}`),
};
