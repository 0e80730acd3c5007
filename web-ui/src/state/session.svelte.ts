/** Who is logged in. Hands the CSRF token to the API client and hears from it when the session is over. */

import { api, setCsrfToken, setUnauthorizedHandler } from '../api/client';
import { RequestError, toRequestError } from '../api/error';
import type { Role, Scope, Session } from '../api/types';

type Phase = 'checking' | 'unreachable' | 'anonymous' | 'authenticated';

class SessionState {
  phase = $state<Phase>('checking');
  user = $state('');
  role = $state<Role>('viewer');
  /** What the user may do. */
  scopes = $state.raw<Scope[]>([]);
  /** Whether the last session ended without a logout. */
  expired = $state(false);
  /** Why the check failed, in phase `unreachable`. */
  error = $state.raw<RequestError | null>(null);

  constructor() {
    setUnauthorizedHandler(() => {
      if (this.phase === 'authenticated') this.expired = true;
      this.#end();
    });
  }

  may(scope: Scope): boolean {
    return this.scopes.includes(scope);
  }

  /** Asks the appliance whether the cookie still holds. */
  async check(): Promise<void> {
    this.phase = 'checking';
    try {
      this.#begin(await api.session());
    } catch (thrown) {
      const error = toRequestError(thrown);
      if (error.status === 401) return this.#end();
      this.error = error;
      this.phase = 'unreachable';
    }
  }

  /** Rejects with a `RequestError` when the credentials are wrong. */
  async login(user: string, password: string): Promise<void> {
    this.#begin(await api.login(user, password));
  }

  async logout(): Promise<void> {
    await api.logout();
    this.expired = false;
    this.#end();
  }

  #begin(session: Session): void {
    setCsrfToken(session.csrf_token);
    this.user = session.user;
    this.role = session.role;
    this.scopes = session.scopes;
    this.expired = false;
    this.phase = 'authenticated';
  }

  #end(): void {
    setCsrfToken('');
    this.user = '';
    this.scopes = [];
    this.phase = 'anonymous';
  }
}

export const session = new SessionState();
