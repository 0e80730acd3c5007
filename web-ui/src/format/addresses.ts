/** `http://blog.example.com:8080/` without what goes without saying: `blog.example.com:8080`. That there is TLS is worth saying. */
export function formatAddress(url: string): string {
  return url.replace(/^http:\/\//, '').replace(/\/$/, '');
}
