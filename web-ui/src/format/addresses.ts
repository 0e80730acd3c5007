/** `http://blog.example.com:8080/` without what everybody knows: `blog.example.com:8080`. */
export function formatAddress(url: string): string {
  return url.replace(/^https?:\/\//, '').replace(/\/$/, '');
}
